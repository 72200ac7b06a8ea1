//! The fault matrix: every saga × every fault, each in a world of its own, each judged by both books.
//!
//! Where a saga can be killed, held, cancelled or reset is not written down anywhere: a **golden run** without faults
//! says which failpoints it passes and what it asks of the exchange, and the cells are made of that (`golden.rs`,
//! `faults.rs`). A **cell** has two phases: with the fault, safety must hold; without it, the saga must come to a lawful
//! end, and the checker reads everything there is (`cell.rs`, `checker.rs`). What is not enumerated is chosen by a seed.
//!
//! To add a saga, implement [`Operation`] beside [`Refund`] and name it in [`operations`].

mod act;
mod cell;
mod checker;
pub(crate) mod dice;
mod faults;
mod flow;
mod funding;
mod golden;
mod intent;
mod market;
mod operation;
mod pause;
mod refund;
mod report;
mod reward;
mod strategy;
mod trading;
mod withdraw;

use std::{sync::Arc, time::Instant};

pub use cell::Cell;
use dice::Dice;
pub use faults::Fault;
pub use funding::FundOrder;
use futures::{StreamExt, stream};
pub use golden::{Golden, Variant, lacks};
pub use intent::ExecuteIntent;
pub use operation::{Disturbed, Operation, Order};
pub use pause::PauseAndWithdraw;
pub use refund::Refund;
pub use report::{Outcome, table};
pub use reward::DistributeReward;
pub use strategy::RunStrategy;
pub use withdraw::Withdraw;

/// Every saga in the matrix.
pub fn operations() -> Vec<Arc<dyn Operation>> {
    vec![
        Arc::new(Refund),
        Arc::new(Withdraw),
        Arc::new(PauseAndWithdraw),
        Arc::new(FundOrder),
        Arc::new(ExecuteIntent),
        Arc::new(RunStrategy::default()),
        Arc::new(DistributeReward),
    ]
}

/// Every cell of a saga, as its golden runs tell.
pub async fn cells_of(operation: &Arc<dyn Operation>, seed: u64) -> Vec<Cell> {
    let golden = Golden::of(operation, seed).await;
    faults::all(&golden, seed).into_iter().map(|fault| Cell::new(Arc::clone(operation), fault, seed)).collect()
}

/// One cell of each kind of fault, chosen by the seed: what every `make test` runs.
pub fn slice(cells: Vec<Cell>, seed: u64) -> Vec<Cell> {
    let mut kinds: Vec<(String, Vec<Cell>)> = Vec::new();
    for cell in cells {
        let row = cell.row();
        match kinds.iter_mut().find(|(known, _)| *known == row) {
            Some((_, cells)) => cells.push(cell),
            None => kinds.push((row, vec![cell])),
        }
    }
    let pick = |(row, mut cells): (String, Vec<Cell>)| {
        let chosen = Dice::new(&row, seed).below(cells.len());
        cells.swap_remove(chosen)
    };
    kinds.into_iter().map(pick).collect()
}

/// Runs cells, so many at a time, and tells each one's outcome as soon as it is known.
pub async fn run(cells: Vec<Cell>, parallel: usize, told: impl Fn(&Outcome)) -> Vec<Outcome> {
    let runs = cells.into_iter().map(|cell| async move {
        let begun = Instant::now();
        let wrong = cell.run().await;
        Outcome { cell, wrong, took: begun.elapsed() }
    });
    let mut runs = stream::iter(runs).buffer_unordered(parallel);
    let mut outcomes = Vec::new();
    while let Some(outcome) = runs.next().await {
        told(&outcome);
        outcomes.push(outcome);
    }
    outcomes
}
