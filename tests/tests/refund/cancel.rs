//! Goal: `temporal workflow cancel` returns the money until the first attempt is recorded, and changes nothing from then on.

use backstop::stack::wait_until;
use backstop_tests::{
    Verdict, World,
    exchange::APPLY,
    world::{DEADLINE, payout_id},
};

async fn cancel(world: &World, id: &str) {
    let cancelled = world.temporal(&["workflow", "cancel", "-w", id]).await;
    assert!(cancelled.status.success(), "{cancelled:?}");
}

#[tokio::test]
async fn cancelled_before_the_first_attempt_the_money_is_back_and_a_late_send_is_refused() {
    let world = World::new().await;
    let refund = world.refund().await;
    world.arm("venue_submit.before", "hang");
    let id = world.start(&refund).await;
    world.reaches(&id, "opened").await;
    cancel(&world, &id).await;
    assert_eq!(world.ended(&id).await.kind(), "cancelled");
    assert_eq!(world.verdict(&id).await, Verdict::Abandoned);
    // The send that was waiting goes on now, too late: the books don't let it.
    world.arm("venue_submit.after", "kill");
    world.disarm("venue_submit.before");
    let mut world = world;
    world.worker_dies().await;
    assert_eq!(world.exchange.requests(APPLY, &id).await, 0);
    assert_eq!(world.verdict(&id).await, Verdict::Abandoned);
    world.start_worker().await;
    assert_eq!(world.run(&refund).await.kind(), "Abandoned");
}

#[tokio::test]
async fn cancelled_while_no_worker_serves_the_money_is_back() {
    let mut world = World::new().await;
    let refund = world.refund().await;
    world.arm("venue_submit.before", "kill");
    let id = world.start(&refund).await;
    world.worker_dies().await;
    cancel(&world, &id).await;
    world.arm("payout_abandon.after", "kill");
    world.start_worker().await;
    world.worker_dies().await;
    world.start_worker().await;
    assert_eq!(world.ended(&id).await.kind(), "cancelled");
    assert_eq!(world.verdict(&id).await, Verdict::Abandoned);
}

#[tokio::test]
async fn a_worker_killed_before_the_undo_undoes_when_it_is_back() {
    let mut world = World::new().await;
    let refund = world.refund().await;
    world.arm("venue_submit.before", "hang");
    let id = world.start(&refund).await;
    world.reaches(&id, "opened").await;
    world.arm("payout_abandon.before", "kill");
    cancel(&world, &id).await;
    world.worker_dies().await;
    world.start_worker().await;
    assert_eq!(world.ended(&id).await.kind(), "cancelled");
    world.disarm("venue_submit.before");
    assert_eq!(world.verdict(&id).await, Verdict::Abandoned);
}

#[tokio::test]
async fn cancelled_after_the_attempt_was_recorded_the_refund_runs_to_its_true_end() {
    let world = World::new().await;
    let refund = world.refund().await;
    world.arm("venue_submit.recorded", "hang");
    let id = world.start(&refund).await;
    world.reaches(&id, "attempted").await;
    cancel(&world, &id).await;
    let seen = wait_until(DEADLINE, async || {
        world.status(&id).await.steps.iter().any(|step| step.note.contains("it may have been sent"))
    });
    assert!(seen.await, "the undo was not found to be too late");
    world.disarm("venue_submit.recorded");
    assert_eq!(world.ended(&id).await.kind(), "settled");
    assert_eq!(world.verdict(&id).await, Verdict::Paid);
}

#[tokio::test]
async fn cancelled_while_it_confirms_the_refund_runs_to_its_true_end() {
    let world = World::new().await;
    let refund = world.refund().await;
    let id = payout_id(&refund);
    world.exchange.set(serde_json::json!({"complete_after_ms": 1_500})).await;
    world.start(&refund).await;
    world.reaches(&id, "attempted").await;
    cancel(&world, &id).await;
    assert_eq!(world.ended(&id).await.kind(), "settled");
    assert_eq!(world.verdict(&id).await, Verdict::Paid);
}
