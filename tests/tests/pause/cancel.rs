//! Goal: a cancelled operation says what became of its withdrawal, and never withdraws afterwards.

use std::time::Instant;

use backstop::stack::wait_until;
use backstop_tests::{End, World, world::DEADLINE};
use futures::future::join_all;
use serde_json::{Value, json};
use temporalio_common::protos::temporal::api::enums::v1::EventType;

use crate::{assert_sound, id, paid, withdrawal_id};

const STATE: &str = "SELECT state FROM pauses WHERE 'pause/' || operation_id = $1";

async fn terminate(world: &World, workflow_id: &str) {
    let ended = world.temporal(&["workflow", "terminate", "-w", workflow_id, "--reason", "a test"]).await;
    assert!(ended.status.success(), "{ended:?}");
}

async fn cancel(world: &World, workflow_id: &str) {
    assert!(world.temporal(&["workflow", "cancel", "-w", workflow_id]).await.status.success());
}

/// Cancels a workflow that waits at a failpoint, and waits until the workflow has been told.
async fn cancel_held(world: &World, workflow_id: &str) {
    cancel(world, workflow_id).await;
    let told = wait_until(DEADLINE, async || {
        let events = world.history(workflow_id).await;
        let asked = events.iter().position(|event| *event == EventType::WorkflowExecutionCancelRequested);
        asked.is_some_and(|asked| events[asked..].contains(&EventType::WorkflowTaskCompleted))
    });
    assert!(told.await, "{workflow_id} was never told that it is cancelled");
}

/// An operation whose withdrawal is held at a failpoint, or waits for an approval, while a second run of the operation
/// follows it.
async fn followed(world: &World, amount: &str, point: Option<&str>) -> Value {
    let strategy = world.strategy().await;
    let pause = world.pause(&strategy, amount);
    if let Some(point) = point {
        world.arm(point, "hang");
    }
    world.start_any("PauseAndWithdraw", &id(&pause), &pause).await;
    match point {
        Some(point) => world.held_at(point).await,
        None => world.reaches(&withdrawal_id(&pause), "awaiting_approval").await,
    }
    terminate(world, &id(&pause)).await;
    world.start_any("PauseAndWithdraw", &id(&pause), &pause).await;
    world.shows_failure(&id(&pause), "not over yet").await;
    pause
}

async fn assert_called_off(world: &World, pause: &Value) {
    assert_eq!(world.end_of(&id(pause)).await, End::Cancelled);
    world.books_say(STATE, &id(pause), "failed").await;
    world.reaches(&withdrawal_id(pause), "abandoned").await;
    assert_eq!(paid(world, pause).await, 0);
    assert_sound(world).await;
}

#[tokio::test]
async fn cancelled_while_another_run_has_started_the_withdrawal_it_ends_that_one() {
    let points =
        ["withdrawal_request.before", "withdrawal_claim.before", "withdrawal_claim.after", "venue_submit.before"];
    join_all(points.map(async |point| {
        let world = World::new().await;
        let pause = followed(&world, "0.45", Some(point)).await;
        cancel(&world, &id(&pause)).await;
        assert_called_off(&world, &pause).await;
        world.disarm(point);
        // The withdrawal that was at work all the while can't be sent any more.
        assert!(matches!(world.end_of(&withdrawal_id(&pause)).await.kind(), "cancelled" | "Abandoned"), "{point}");
        assert_called_off(&world, &pause).await;
    }))
    .await;
}

#[tokio::test]
async fn cancelled_while_its_withdrawal_waits_for_an_approval_nobody_is_asked_any_more() {
    let world = World::new().await;
    let pause = followed(&world, "0.6", None).await;
    cancel(&world, &id(&pause)).await;
    assert_called_off(&world, &pause).await;
    assert_eq!(world.end_of(&withdrawal_id(&pause)).await, End::Cancelled);
}

/// It hears of both at once: that it is called off, and that what it has started was ended by force.
#[tokio::test]
async fn cancelled_in_the_moment_its_withdrawal_is_ended_by_force_it_ends() {
    let mut world = World::new().await;
    let strategy = world.strategy().await;
    let pause = world.pause(&strategy, "0.6");
    world.start_any("PauseAndWithdraw", &id(&pause), &pause).await;
    world.reaches(&withdrawal_id(&pause), "awaiting_approval").await;
    let waits = wait_until(DEADLINE, async || {
        let events = world.history(&id(&pause)).await;
        let since = events.iter().skip_while(|event| **event != EventType::ChildWorkflowExecutionStarted);
        since.last() == Some(&EventType::WorkflowTaskCompleted)
    });
    assert!(waits.await, "it does not wait for its withdrawal");
    world.kill_worker().await;
    terminate(&world, &withdrawal_id(&pause)).await;
    cancel(&world, &id(&pause)).await;
    let both = [EventType::ChildWorkflowExecutionTerminated, EventType::WorkflowExecutionCancelRequested];
    let told = wait_until(DEADLINE, async || {
        let events = world.history(&id(&pause)).await;
        both.iter().all(|event| events.contains(event))
    });
    assert!(told.await, "it is not told of both");
    world.start_worker().await;
    assert_called_off(&world, &pause).await;
}

#[tokio::test]
async fn cancelled_when_its_withdrawal_may_have_been_sent_it_waits_for_the_true_end() {
    join_all(["venue_submit.recorded", "venue_confirm.before", "payout_settle.before"].map(async |point| {
        let world = World::new().await;
        let pause = followed(&world, "0.45", Some(point)).await;
        cancel(&world, &id(&pause)).await;
        let tried = wait_until(DEADLINE, async || {
            let steps = world.status_of(&id(&pause)).await.steps;
            steps.iter().any(|step| step.step == "call the withdrawal off" && !step.note.is_empty())
        });
        assert!(tried.await, "{point}: it was not called off");
        world.books_say(STATE, &id(&pause), "withdrawing").await;
        world.disarm(point);
        assert_eq!(world.end_of(&id(&pause)).await.kind(), "completed", "{point}");
        assert_eq!(paid(&world, &pause).await, 1, "{point}");
        assert_sound(&world).await;
    }))
    .await;
}

#[tokio::test]
async fn cancelled_in_the_very_step_that_opens_it_it_is_blocked_and_stays_so() {
    let world = World::watched().await;
    let strategy = world.strategy().await;
    let pause = world.pause(&strategy, "0.45");
    world.arm("pause_open.after", "hang");
    world.start_any("PauseAndWithdraw", &id(&pause), &pause).await;
    world.held_at("pause_open.after").await;
    cancel_held(&world, &id(&pause)).await;
    world.disarm("pause_open.after");
    assert_eq!(world.end_of(&id(&pause)).await, End::Cancelled);
    world.books_say(STATE, &id(&pause), "blocked").await;
    assert!(!world.is_unfinished(&id(&pause)).await);
    // Nothing has begun: its owner's strategy still runs.
    world.books_say("SELECT status FROM strategies WHERE strategy_key = $1", &strategy.key, "running").await;
    assert_sound(&world).await;
}

#[tokio::test]
async fn cancelled_in_the_very_step_that_finds_it_drained_it_never_withdraws() {
    let world = World::watched().await;
    let strategy = world.strategy().await;
    let pause = world.pause(&strategy, "0.45");
    world.arm("pause_drained.after", "hang");
    world.start_any("PauseAndWithdraw", &id(&pause), &pause).await;
    world.held_at("pause_drained.after").await;
    cancel_held(&world, &id(&pause)).await;
    world.disarm("pause_drained.after");
    assert_called_off(&world, &pause).await;
    assert!(!world.is_unfinished(&id(&pause)).await);
}

#[tokio::test]
async fn cancelled_while_it_drains_what_another_run_has_drained_already_it_never_withdraws() {
    let world = World::new().await;
    let strategy = world.strategy().await;
    let pause = world.pause(&strategy, "0.45");
    // The step of a run that is over commits in the middle of the next run's drain.
    world.arm("pause_drained.before", "hang");
    world.start_any("PauseAndWithdraw", &id(&pause), &pause).await;
    world.held_at("pause_drained.before").await;
    terminate(&world, &id(&pause)).await;
    world.arm("venue_drain.before", "hang");
    world.start_any("PauseAndWithdraw", &id(&pause), &pause).await;
    world.held_at("venue_drain.before").await;
    world.disarm("pause_drained.before");
    world.books_say(STATE, &id(&pause), "withdrawing").await;
    cancel(&world, &id(&pause)).await;
    assert_called_off(&world, &pause).await;
    world.disarm("venue_drain.before");
}

#[tokio::test]
async fn a_withdrawal_that_another_workflow_carries_is_waited_for() {
    let world = World::new().await;
    let strategy = world.strategy().await;
    let pause = world.pause(&strategy, "0.6");
    let mut withdrawal = pause.clone();
    let fields = withdrawal.as_object_mut().unwrap();
    fields.remove("strategy_key");
    let operation_id = fields.remove("operation_id").unwrap();
    fields.insert("withdrawal_id".into(), operation_id);
    world.start_any("Withdraw", "by-hand", &withdrawal).await;
    world.reaches(&withdrawal_id(&pause), "awaiting_approval").await;
    world.start_any("PauseAndWithdraw", &id(&pause), &pause).await;
    world.shows_failure(&id(&pause), "not over yet").await;
    // Not its own to end.
    cancel(&world, &id(&pause)).await;
    world.update("by-hand", "approve", json!({"operator": "ann", "evidence": "called back"})).await.unwrap();
    assert_eq!(world.end_of(&id(&pause)).await.kind(), "completed");
    assert_eq!(paid(&world, &pause).await, 1);
    assert_sound(&world).await;
}

#[tokio::test]
async fn a_withdrawal_of_another_run_is_followed_at_no_cost_to_the_history_and_its_end_is_seen() {
    let (world, began) = (World::new().await, Instant::now());
    let pause = followed(&world, "0.6", None).await;
    let looked = || world.passed().iter().filter(|point| *point == "payout_ended.before").count() >= 20;
    assert!(wait_until(DEADLINE, async || looked()).await, "the books are not asked");
    let events = world.history(&id(&pause)).await;
    let starts = events.iter().filter(|event| **event == EventType::StartChildWorkflowExecutionInitiated).count();
    // After the first four seconds, and then never before twice the time of the last pause.
    let paused_min = 4 * (2_u64.pow(u32::try_from(starts).unwrap() - 1) - 1);
    assert!(paused_min <= began.elapsed().as_secs(), "{starts} starts: {events:?}");
    let approval = json!({"operator": "ann", "evidence": "called back"});
    world.update(&withdrawal_id(&pause), "approve", approval).await.unwrap();
    assert_eq!(world.end_of(&id(&pause)).await.kind(), "completed");
    assert_eq!(paid(&world, &pause).await, 1);
    assert_sound(&world).await;
}
