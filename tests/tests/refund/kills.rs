//! Goal: a worker killed with SIGKILL right before or right after any side effect loses and doubles nothing, and the
//! refund goes on to its end once a worker is back.

use std::time::Instant;

use backstop_tests::{Verdict, World, exchange::APPLY, world::payout_id};
use serde_json::{Value, json};

/// Kills the worker at the failpoint, starts another, and gives both books' verdict.
async fn killed_at(failpoint: &str, fault: Option<Value>) -> Verdict {
    let mut world = World::new().await;
    let refund = world.refund().await;
    let id = payout_id(&refund);
    if let Some(fault) = fault {
        world.exchange.fault(APPLY, &id, fault).await;
    }
    world.arm(failpoint, "kill");
    world.start(&refund).await;
    world.worker_dies().await;
    world.start_worker().await;
    let back = Instant::now();
    world.ended(&id).await.receipt();
    println!("{failpoint}: ended {:?} after the worker was back", back.elapsed());
    world.verdict(&id).await
}

macro_rules! killed {
    ($($name:ident: $failpoint:literal, $fault:expr => $verdict:ident;)+) => {
        $(#[tokio::test]
        async fn $name() {
            assert_eq!(killed_at($failpoint, $fault).await, Verdict::$verdict);
        })+
    };
}

killed! {
    before_opening: "payout_open.before", None => Paid;
    after_opening: "payout_open.after", None => Paid;
    before_submitting: "venue_submit.before", None => Paid;
    after_recording_the_attempt_and_before_sending_it: "venue_submit.recorded", None => Paid;
    after_sending_and_before_recording_the_answer: "venue_submit.sent", None => Paid;
    after_submitting: "venue_submit.after", None => Paid;
    before_confirming: "venue_confirm.before", None => Paid;
    after_confirming: "venue_confirm.after", None => Paid;
    before_settling: "payout_settle.before", None => Paid;
    after_settling: "payout_settle.after", None => Paid;
    after_a_send_whose_answer_was_lost: "venue_submit.sent", Some(json!({"fault": "lose_answer"})) => Paid;
    after_a_send_that_was_not_executed: "venue_submit.sent", Some(json!({"fault": "drop"})) => Paid;
    after_a_refusal_and_before_recording_it: "venue_submit.sent", refused() => Paid;
    after_a_refusal: "venue_submit.after", refused() => Returned;
    before_returning: "payout_return.before", refused() => Returned;
    after_returning: "payout_return.after", refused() => Returned;
}

/// Refused once. A refusal that nobody remembers proves nothing, so the attempt is looked up, found absent, and repeated.
#[allow(clippy::unnecessary_wraps)]
fn refused() -> Option<Value> {
    Some(json!({"fault": "reject", "code": -4026}))
}

#[tokio::test]
async fn a_worker_killed_at_every_send_in_turn_still_pays_once() {
    let mut world = World::new().await;
    let refund = world.refund().await;
    let id = payout_id(&refund);
    world.arm("venue_submit.recorded", "kill");
    world.start(&refund).await;
    world.worker_dies().await;
    world.arm("venue_submit.sent", "kill");
    world.start_worker().await;
    world.worker_dies().await;
    world.arm("payout_settle.after", "kill");
    world.start_worker().await;
    world.worker_dies().await;
    world.start_worker().await;
    world.ended(&id).await.receipt();
    assert_eq!(world.verdict(&id).await, Verdict::Paid);
}
