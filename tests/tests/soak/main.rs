//! Goal: many intents at several venues, through two worker processes that are killed in turn: nothing is twice, lost, or
//! beyond a gate. `make soak` runs ten thousand of them; this is the same with few.
#![allow(clippy::unwrap_used)]

use backstop_tests::soak::{self, Options};

#[tokio::test(flavor = "multi_thread")]
async fn intents_at_three_venues_through_workers_that_are_killed_are_executed_once() {
    let options = Options::small();
    let (stage, report) = soak::run(&options).await;
    println!("{}", report.text());
    assert!(report.wrong.is_empty(), "{}", report.text());
    assert!(report.kills() > 1 && report.count("done") > options.intents / 2, "{}", report.text());
    // And whoever judged would have seen it.
    stage.place_behind_the_books(&stage.venues[1]).await;
    let seen = stage.orders_that_disagree().await;
    assert!(seen.len() == 1 && seen[0].contains("the books don't have"), "{seen:#?}");
}
