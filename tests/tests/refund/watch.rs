//! Goal: what a refund's own workflow can't see any more, because it is gone or over, the venue's watch sees.

use backstop_tests::{Verdict, World, exchange::APPLY, world::payout_id};
use serde_json::json;

const FOUND: &str = "SELECT severity FROM findings WHERE state = 'open' AND kind || ' ' || subject = $1";

#[tokio::test]
async fn a_refund_whose_workflow_was_ended_by_force_is_started_again_and_paid_once() {
    let world = World::watched().await;
    let refund = world.refund().await;
    let id = payout_id(&refund);
    world.arm("venue_confirm.before", "hang");
    world.start(&refund).await;
    world.reaches(&id, "attempted").await;
    let terminated = world.temporal(&["workflow", "terminate", "-w", &id, "--reason", "a test"]).await;
    assert!(terminated.status.success(), "{terminated:?}");
    world.disarm("venue_confirm.before");
    world.reaches(&id, "settled").await;
    assert_eq!(world.verdict(&id).await, Verdict::Paid);
    assert_eq!(world.exchange.requests(APPLY, &id).await, 1);
}

#[tokio::test]
async fn a_refund_that_was_returned_and_paid_after_all_is_a_critical_finding() {
    let world = World::watched().await;
    let refund = world.refund().await;
    let id = payout_id(&refund);
    world.exchange.fault(APPLY, &id, json!({"fault": "reject", "code": -4026})).await;
    world.run(&refund).await.receipt();
    assert_eq!(world.verdict(&id).await, Verdict::Returned);
    world.exchange.pay_behind_our_back(&id, "0.25").await;
    world.books_say(FOUND, &format!("payout_paid_after_return {id}"), "critical").await;
}

#[tokio::test]
async fn a_refund_that_was_paid_a_second_time_is_a_critical_finding() {
    let world = World::watched().await;
    let refund = world.refund().await;
    let id = payout_id(&refund);
    world.run(&refund).await.receipt();
    assert_eq!(world.verdict(&id).await, Verdict::Paid);
    world.exchange.pay_behind_our_back(&id, "0.25").await;
    world.books_say(FOUND, &format!("payout_paid_twice {id}"), "critical").await;
}

#[tokio::test]
async fn a_withdrawal_under_an_id_like_ours_that_no_payout_has_is_a_critical_finding() {
    let world = World::watched().await;
    world.exchange.pay_behind_our_back("refund/never-opened", "0.25").await;
    let kind = "SELECT severity FROM findings WHERE state = 'open' AND kind = $1";
    world.books_say(kind, "withdrawal_without_payout", "critical").await;
}

/// It waits for an approval, and was paid all the same: the books must have lost what they knew of it.
#[tokio::test]
async fn a_withdrawal_that_was_paid_before_it_was_sent_is_a_critical_finding_and_not_paid_again() {
    let world = World::watched().await;
    let withdrawal = world.withdrawal("0.6").await;
    let id = format!("withdrawal/{}", withdrawal["withdrawal_id"].as_str().unwrap());
    world.start_any("Withdraw", &id, &withdrawal).await;
    world.reaches(&id, "awaiting_approval").await;
    world.exchange.pay_behind_our_back(&id, "0.6").await;
    world.books_say(FOUND, &format!("withdrawal_without_attempt {id}"), "critical").await;
    world.update(&id, "approve", json!({"operator": "ann", "evidence": "a test"})).await.unwrap();
    world.end_of(&id).await;
    assert_eq!(world.verdict(&id).await, Verdict::Paid);
    assert_eq!(world.exchange.requests(APPLY, &id).await, 0);
}
