//! What goes wrong when two processes work on the same books at once.

use backstop::stack::wait_until;
use backstop_tests::{
    World, books_checker,
    exchange::ORDER,
    intents::{intent_workflow, order_of},
    world::DEADLINE,
};
use futures::future::join_all;
use serde_json::{Value, json};

const DEBITS: usize = 600;
/// So many at a time, which is enough for both processes to be at the same balance all the time.
const AT_A_TIME: usize = 100;
/// How many debits an account has, by the payouts and by the account itself.
const OPENED: &str = "SELECT count(*) FROM payouts WHERE state = 'opened' AND in_transit = amount";
const BALANCE: &str =
    "SELECT concat_ws(' ', trim_scale(available), version) FROM accounts WHERE owner = $1 AND asset = 'BTC'";

/// The row "two processes debiting one balance 600 times: all reported applied; balance row 219 updates short". The
/// debits are those of refunds, which then wait: no worker here serves their venue.
#[tokio::test]
async fn two_worker_processes_that_debit_one_balance_600_times_lose_no_update() {
    let mut world = World::with(&[("BACKSTOP_VENUE_NAME", "elsewhere")]).await;
    world.start_second_worker().await;
    let refund = world.refund().await;
    let mut owner = world.database.owner().await;
    let ids: Vec<usize> = (0..DEBITS).collect();
    for batch in ids.chunks(AT_A_TIME) {
        join_all(batch.iter().map(async |number| {
            let mut debit = refund.clone();
            debit["refund_id"] = format!("{}-{number}", refund["refund_id"].as_str().unwrap()).into();
            debit["amount"] = "0.001".into();
            world.start(&debit).await;
        }))
        .await;
        let until = i64::try_from(batch[batch.len() - 1] + 1).unwrap();
        let opened = wait_until(DEADLINE, async || {
            sqlx::query_scalar::<_, i64>(OPENED).fetch_one(&mut owner).await.unwrap() == until
        });
        assert!(opened.await, "{until} debits are not applied");
    }
    // One bitcoin came in, and 600 times a thousandth went out, each as a version of its own.
    let balance: String =
        sqlx::query_scalar(BALANCE).bind(refund["user_id"].as_str()).fetch_one(&mut owner).await.unwrap();
    assert_eq!(balance, "0.4 601");
    let unsound = books_checker::check(&mut owner).await;
    assert!(unsound.is_empty(), "{unsound:#?}");
    let first = world.passed().iter().filter(|name| *name == "payout_open.after").count();
    assert!(first > 0 && world.second_has_passed("payout_open.after"), "one process did it all");
}

/// The row "per-exchange limit 1, two processes: 2 at once; with a slow check, 10 to 12 of 24 intents sent twice". Here every
/// intent is dispatched twice, and what is checked before it (the venue's rules) takes its time.
#[tokio::test]
async fn of_24_intents_that_are_dispatched_twice_to_two_processes_after_a_slow_check_none_is_sent_twice_or_beside_another()
 {
    let mut world = World::new().await;
    world.start_second_worker().await;
    world.backstop(&["gate", "--venue", "binance", "1"]).await.unwrap();
    let slow = |method: &str, ms: u32| json!({"fault": "delay", "ms": ms, "method": method, "times": 1_000});
    world.exchange.fault_for_all("/api/v3/exchangeInfo", slow("GET", 400)).await;
    world.exchange.fault_for_all(ORDER, slow("POST", 50)).await;
    let user = world.strategy().await.user;
    let mut intents = Vec::new();
    for _ in 0..6 {
        let strategy = world.strategy_of(&user).await;
        intents.extend((0..4).map(|_| world.intent(&strategy, "sell", "120000", "0.01")));
    }
    let ids = |intent: &Value| [intent_workflow(intent), format!("again/{}", intent_workflow(intent))];
    let all: Vec<(String, &Value)> = intents.iter().flat_map(|intent| ids(intent).map(|id| (id, intent))).collect();
    join_all(all.iter().map(async |(id, intent)| world.start_any("ExecuteIntent", id, intent).await)).await;
    let ends = join_all(all.iter().map(async |(id, _)| world.end_of(id).await)).await;
    for (end, (id, _)) in ends.iter().zip(&all) {
        assert!(["done", "Held"].contains(&end.kind()), "{id}: {end:?}");
    }
    for intent in &intents {
        assert_eq!(world.exchange.orders(&order_of(intent)).await.len(), 1, "{intent}");
        assert_eq!(world.exchange.sends(&order_of(intent)).await, 1, "{intent}");
    }
    assert_eq!(world.exchange.traffic("POST", ORDER).await, (24, 1), "so many placements, so many of them at once");
    let unsound = books_checker::check(&mut world.database.owner().await).await;
    assert!(unsound.is_empty(), "{unsound:#?}");
    for worker in
        [world.passed().iter().any(|name| name == "venue_place.sent"), world.second_has_passed("venue_place.sent")]
    {
        assert!(worker, "one process did it all");
    }
}
