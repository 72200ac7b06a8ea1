//! Goal: payouts share their looks at the exchange's history, and a shared look proves no more than its own time allows.

use std::time::{Duration, Instant};

use backstop_tests::{
    Verdict, World,
    exchange::{APPLY, HISTORY},
    world::payout_id,
};
use futures::future::join_all;
use serde_json::json;

#[tokio::test]
async fn thirty_refunds_at_once_are_confirmed_by_a_few_polls() {
    const REFUNDS: usize = 30;
    // A look is good for two thirds of the longest pause.
    let (world, good_for) = (World::with(&[("BACKSTOP_VENUE_POLL_MAX_MS", "3000")]).await, Duration::from_secs(2));
    world.exchange.set(json!({"balances": {"BTC": "1000"}})).await;
    let refunds = join_all((0..REFUNDS).map(|_| world.refund())).await;
    let begun = Instant::now();
    for ended in join_all(refunds.iter().map(|refund| world.run(refund))).await {
        ended.receipt();
    }
    let took = begun.elapsed();
    for refund in &refunds {
        assert_eq!(world.verdict(&payout_id(refund)).await, Verdict::Paid);
    }
    let polls = world.exchange.all_requests(HISTORY).await;
    println!("{REFUNDS} refunds took {took:?} and {} polls", polls.len());
    assert!(polls.iter().all(|poll| poll["client_id"].is_null()), "somebody asked alone: {polls:?}");
    // One more looks long back for what may have been forgotten.
    let allowed = 3 + took.as_millis() / good_for.as_millis();
    assert!(polls.len() as u128 <= allowed, "{} polls in {took:?}", polls.len());
}

/// The look before the send shows nothing, and is used again after the attempt's time is over.
#[tokio::test]
async fn an_early_look_proves_no_absence_later() {
    let world = World::with(&[("BACKSTOP_VENUE_POLL_MAX_MS", "6000")]).await;
    let refund = world.refund().await;
    let id = payout_id(&refund);
    world.exchange.fault(APPLY, &id, json!({"fault": "lose_answer", "hide_ms": 1_000})).await;
    world.run(&refund).await.receipt();
    assert_eq!(world.verdict(&id).await, Verdict::Paid);
    assert_eq!(world.exchange.requests(APPLY, &id).await, 1);
    // The long look at what may have been forgotten, and two at the time since.
    assert_eq!(world.exchange.all_requests(HISTORY).await.len(), 3);
}

/// The same for a record of a failure: it says nothing of another send that could not be seen by then.
#[tokio::test]
async fn an_early_failure_proves_no_end_later() {
    let world = World::with(&[("BACKSTOP_VENUE_POLL_MAX_MS", "6000")]).await;
    let refund = world.refund().await;
    let id = payout_id(&refund);
    world.exchange.fault(APPLY, &id, json!({"fault": "fail_after", "ms": 0})).await;
    let begun = Instant::now();
    world.run(&refund).await.receipt();
    assert_eq!(world.verdict(&id).await, Verdict::Returned);
    assert!(begun.elapsed() > Duration::from_secs(4), "ended by a look from before the attempt's time was over");
    // The long look at what may have been forgotten, and two at the time since.
    assert_eq!(world.exchange.all_requests(HISTORY).await.len(), 3);
}

#[tokio::test]
async fn lookups_that_are_broken_for_a_while_lose_nothing() {
    for dedupe in ["none", "dedupe", "duplicate_error"] {
        let world = World::new().await;
        world.exchange.set(json!({"dedupe": dedupe})).await;
        let refund = world.refund().await;
        let id = payout_id(&refund);
        world.exchange.fault(APPLY, &id, json!({"fault": "lose_answer"})).await;
        let broken = [
            json!({"fault": "status", "status": 500, "times": 2}),
            json!({"fault": "garbage", "times": 2}),
            json!({"fault": "rate_limited"}),
            json!({"fault": "drop"}),
        ];
        for fault in broken {
            world.exchange.fault_for_all(HISTORY, fault).await;
        }
        assert_eq!(world.run(&refund).await.kind(), "settled");
        assert_eq!(world.verdict(&id).await, Verdict::Paid);
        assert_eq!(world.exchange.requests(APPLY, &id).await, 1);
        let polls = world.exchange.all_requests(HISTORY).await;
        assert_eq!(polls.iter().filter(|poll| !poll["fault"].is_null()).count(), 6, "{polls:?}");
    }
}

/// A payout that is older than what is shared is looked up by its own client id.
#[tokio::test]
async fn an_old_refund_is_confirmed_by_itself() {
    let world = World::with(&[("BACKSTOP_VENUE_SHARED_SPAN_S", "0")]).await;
    let refund = world.refund().await;
    let id = payout_id(&refund);
    assert_eq!(world.run(&refund).await.kind(), "settled");
    assert_eq!(world.verdict(&id).await, Verdict::Paid);
    let (alone, all) = (world.exchange.requests(HISTORY, &id).await, world.exchange.all_requests(HISTORY).await.len());
    // All but the one at what may have been forgotten.
    assert!(alone > 0 && alone == all - 1, "{alone} of {all}");
}
