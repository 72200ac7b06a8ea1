//! Goal: whatever is done to a saga, and wherever, it comes to a lawful end with both books in agreement; and a saga that
//! is broken does not pass.
#![allow(clippy::unwrap_used)]

use std::{collections::HashSet, sync::Arc};

use backstop_tests::matrix::{self, Cell, Fault, Outcome, Refund, RunStrategy, Variant};

/// Which cells the slice is made of. Fixed, so that a change that fails is to blame itself; the whole matrix is
/// `make fault-matrix`, with any seed.
const SEED: u64 = 4;
const PARALLEL: usize = 8;

/// One cell of each kind of fault for every saga.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slice_of_the_matrix_holds() {
    let plans = matrix::operations()
        .into_iter()
        .map(|operation| async move { matrix::slice(matrix::cells_of(&operation, SEED).await, SEED) });
    let cells: Vec<Cell> = futures::future::join_all(plans).await.into_iter().flatten().collect();
    let names: HashSet<String> = cells.iter().map(Cell::name).collect();
    assert_eq!(names.len(), cells.len(), "two cells of one name");
    let outcomes = matrix::run(cells, PARALLEL, |_| ()).await;
    let failures: Vec<String> = outcomes.iter().filter(|outcome| !outcome.passed()).map(Outcome::failure).collect();
    println!("{}", matrix::table(&outcomes));
    assert!(failures.is_empty(), "{}", failures.concat());
}

/// What a part that is broken on purpose does to cells, all of which pass when it is not.
async fn is_noticed(part: &'static str, faults: Vec<Fault>) {
    let cells: Vec<Cell> = faults.into_iter().map(|fault| Cell::new(Arc::new(Refund), fault, SEED)).collect();
    let broken = cells.iter().map(|cell| cell.clone().with_broken(part)).collect();
    let (sound, broken) = futures::join!(matrix::run(cells, PARALLEL, |_| ()), matrix::run(broken, PARALLEL, |_| ()));
    for outcome in sound {
        assert!(outcome.passed(), "{}", outcome.failure());
    }
    for outcome in broken {
        assert!(!outcome.passed(), "with {part}, {} passes", outcome.cell.name());
        println!("with {part}: {}", outcome.failure());
    }
}

fn at(point: &str) -> String {
    point.to_owned()
}

fn venue(kind: &'static str) -> Fault {
    Fault::Venue { kind, path: backstop_tests::exchange::APPLY.into() }
}

#[tokio::test]
async fn an_undo_that_is_skipped_is_noticed() {
    let cancelled = Fault::Cancelled { at: at("venue_submit.before") };
    let variant = Variant::Cancelled { at: at("venue_submit.before") };
    let killed = Fault::Killed { variant, at: at("payout_abandon.after") };
    is_noticed("undo_skipped", vec![cancelled, killed]).await;
}

#[tokio::test]
async fn an_attempt_that_is_not_recorded_is_noticed() {
    let killed = Fault::Killed { variant: Variant::Plain, at: at("venue_submit.sent") };
    is_noticed("attempt_unrecorded", vec![killed, venue("answer-lost"), venue("hidden")]).await;
}

#[tokio::test]
async fn an_unknown_outcome_that_is_taken_for_a_refusal_is_noticed() {
    is_noticed("rejections_widened", vec![venue("answer-lost"), venue("503-executed"), venue("executed-late")]).await;
}

#[tokio::test]
async fn a_market_that_does_not_trade_is_noticed() {
    let lacks = matrix::lacks(&(Arc::new(RunStrategy { still: true }) as Arc<dyn matrix::Operation>), SEED).await;
    assert_eq!(lacks.len(), 2, "{lacks:?}");
    assert!(lacks.iter().all(|lack| lack.starts_with("0 ")), "{lacks:?}");
}
