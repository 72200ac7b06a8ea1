//! Goal: a refund that is reset, terminated, started again, or left alone by its worker ends as if nothing had happened.

use std::{process::Stdio, time::Instant};

use backstop::stack::{free_port, wait_until};
use backstop_tests::{
    Verdict, World,
    exchange::{APPLY, HISTORY},
    world::{DEADLINE, payout_id, program},
};
use serde_json::json;
use tokio::process::Command;

#[tokio::test]
async fn a_finished_refund_reset_to_its_beginning_gives_the_same_receipt() {
    let world = World::new().await;
    let refund = world.refund().await;
    let id = payout_id(&refund);
    let first = world.run(&refund).await.receipt();
    let reset = ["workflow", "reset", "-w", &id, "--type", "FirstWorkflowTask", "--reason", "a test"];
    let reset = world.temporal(&reset).await;
    assert!(reset.status.success(), "{reset:?}");
    assert_eq!(world.ended(&id).await.receipt(), first);
    assert_eq!(world.verdict(&id).await, Verdict::Paid);
    assert_eq!(world.exchange.requests(APPLY, &id).await, 1);
}

#[tokio::test]
async fn a_refund_reset_while_it_confirms_is_paid_once() {
    let world = World::new().await;
    let refund = world.refund().await;
    world.exchange.set(json!({"complete_after_ms": 1_500})).await;
    let id = world.start(&refund).await;
    world.reaches(&id, "attempted").await;
    let reset = ["workflow", "reset", "-w", &id, "--type", "FirstWorkflowTask", "--reason", "a test"];
    let reset = world.temporal(&reset).await;
    assert!(reset.status.success(), "{reset:?}");
    assert_eq!(world.ended(&id).await.kind(), "settled");
    assert_eq!(world.verdict(&id).await, Verdict::Paid);
}

#[tokio::test]
async fn a_refund_terminated_after_its_send_and_started_again_is_paid_once() {
    let world = World::new().await;
    let refund = world.refund().await;
    world.exchange.set(json!({"complete_after_ms": 1_500})).await;
    let id = world.start(&refund).await;
    world.reaches(&id, "attempted").await;
    let terminated = world.temporal(&["workflow", "terminate", "-w", &id, "--reason", "a test"]).await;
    assert!(terminated.status.success(), "{terminated:?}");
    assert_eq!(world.ended(&id).await.kind(), "terminated");
    assert_eq!(world.run(&refund).await.kind(), "settled");
    assert_eq!(world.verdict(&id).await, Verdict::Paid);
    assert_eq!(world.exchange.requests(APPLY, &id).await, 1);
}

#[tokio::test]
async fn a_refund_terminated_between_record_and_send_and_started_again_is_paid_once() {
    let world = World::new().await;
    let refund = world.refund().await;
    world.arm("venue_submit.recorded", "hang");
    let id = world.start(&refund).await;
    world.reaches(&id, "attempted").await;
    let terminated = world.temporal(&["workflow", "terminate", "-w", &id, "--reason", "a test"]).await;
    assert!(terminated.status.success(), "{terminated:?}");
    // The first run's send is still on its way, in a process that nobody listens to any more.
    world.start(&refund).await;
    world.disarm("venue_submit.recorded");
    assert_eq!(world.ended(&id).await.kind(), "settled");
    assert_eq!(world.verdict(&id).await, Verdict::Paid);
}

#[tokio::test]
async fn a_refund_whose_worker_dies_while_it_waits_goes_on_with_the_next_one() {
    let mut world = World::new().await;
    let refund = world.refund().await;
    world.exchange.set(json!({"complete_after_ms": 600_000})).await;
    let id = world.start(&refund).await;
    // It looks before it sends, too.
    world.reaches(&id, "attempted").await;
    world.exchange.is_asked_twice(HISTORY).await;
    world.kill_worker().await;
    let made = world.exchange.withdrawals(&id).await;
    world.exchange.force(&made[0].id, "completed").await;
    world.start_worker().await;
    let back = Instant::now();
    world.reaches(&id, "settled").await;
    println!("settled {:?} after the worker was back", back.elapsed());
    assert_eq!(world.ended(&id).await.kind(), "settled");
    assert_eq!(world.verdict(&id).await, Verdict::Paid);
}

#[tokio::test]
async fn a_venue_that_cannot_be_reached_is_tried_until_it_can() {
    let mut world = World::new().await;
    let mut refund = world.refund().await;
    refund["confirm_timeout_seconds"] = json!(60);
    let id = payout_id(&refund);
    world.lose_the_venue().await;
    world.start(&refund).await;
    world.shows_failure(&id, "could not connect").await;
    assert_eq!(world.exchange.requests(APPLY, &id).await, 0);
    world.find_the_venue().await;
    assert_eq!(world.ended(&id).await.kind(), "settled");
    assert_eq!(world.verdict(&id).await, Verdict::Paid);
}

#[tokio::test]
async fn a_worker_that_is_asked_to_stop_in_the_middle_of_a_step_leaves_it_to_the_next() {
    let mut world = World::new().await;
    let refund = world.refund().await;
    world.arm("payout_open.after", "hang");
    let id = world.start(&refund).await;
    world.reaches(&id, "opened").await;
    world.stop_worker().await;
    world.disarm("payout_open.after");
    world.start_worker().await;
    assert_eq!(world.ended(&id).await.kind(), "settled");
    assert_eq!(world.verdict(&id).await, Verdict::Paid);
}

#[tokio::test]
async fn a_worker_that_is_asked_to_stop_in_the_middle_of_a_send_leaves_it_to_the_next() {
    let mut world = World::new().await;
    let refund = world.refund().await;
    world.arm("venue_submit.recorded", "hang");
    let id = world.start(&refund).await;
    world.reaches(&id, "attempted").await;
    world.stop_worker().await;
    world.disarm("venue_submit.recorded");
    world.start_worker().await;
    assert_eq!(world.ended(&id).await.kind(), "settled");
    assert_eq!(world.verdict(&id).await, Verdict::Paid);
}

/// A container that is started again finds the file of the process before it, and must not be taken for ready by that.
#[tokio::test]
async fn a_ready_file_of_an_earlier_process_is_gone_before_anything_else_is_tried() {
    let world = World::without_worker().await;
    let ready = world.directory().join("earlier.ready");
    std::fs::write(&ready, "1").unwrap();
    let nowhere = format!("http://127.0.0.1:{}", free_port().unwrap());
    let mut command = Command::new(program("backstop"));
    command.arg("worker").arg("--ready-file").arg(&ready).env("TEMPORAL_ADDRESS", nowhere);
    command.env("DATABASE_URL", world.database.url()).env("BACKSTOP_VENUE_URL", world.exchange.url());
    command.env("BACKSTOP_VENUE_KEY", "test-key").env("BACKSTOP_VENUE_SECRET", "test-secret");
    let _worker = command.stderr(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true).spawn().unwrap();
    assert!(wait_until(DEADLINE, async || !ready.exists()).await, "it still says that it is ready");
}
