//! Goal: an operation may be started again at any point of its life, and goes on to one result.

use backstop_tests::{End, World};

use crate::{assert_sound, id, paid, withdrawal_id};

#[tokio::test]
async fn killed_around_every_step_it_withdraws_once() {
    let points = [
        "pause_open.before",
        "pause_open.after",
        "strategy_stop.after",
        "venue_drain.before",
        "venue_drain.after",
        "pause_drained.before",
        "pause_drained.after",
        "withdrawal_claim.after",
        "venue_submit.sent",
        "pause_end.before",
        "pause_end.after",
    ];
    futures::future::join_all(points.map(async |point| {
        let mut world = World::new().await;
        let strategy = world.strategy().await;
        world.place(&strategy, "sell", "120000", "0.7", true).await;
        let pause = world.pause(&strategy, "0.45");
        world.arm(point, "kill");
        world.start_any("PauseAndWithdraw", &id(&pause), &pause).await;
        world.worker_dies().await;
        world.start_worker().await;
        assert_eq!(world.end_of(&id(&pause)).await.kind(), "completed", "{point}");
        assert_eq!(paid(&world, &pause).await, 1, "{point}");
        assert_sound(&world).await;
    }))
    .await;
}

#[tokio::test]
async fn terminated_at_any_point_and_started_again_it_withdraws_once() {
    let points = ["strategy_stop.after", "venue_drain.before", "withdrawal_request.after", "venue_confirm.before"];
    futures::future::join_all(points.map(async |point| {
        let world = World::new().await;
        let strategy = world.strategy().await;
        world.place(&strategy, "sell", "120000", "0.7", true).await;
        let pause = world.pause(&strategy, "0.45");
        world.arm(point, "hang");
        world.start_any("PauseAndWithdraw", &id(&pause), &pause).await;
        world.held_at(point).await;
        let terminated = world.temporal(&["workflow", "terminate", "-w", &id(&pause), "--reason", "a test"]).await;
        assert!(terminated.status.success());
        world.disarm(point);
        assert_eq!(world.run_any("PauseAndWithdraw", &id(&pause), &pause).await.kind(), "completed", "{point}");
        assert_eq!(paid(&world, &pause).await, 1, "{point}");
        assert_sound(&world).await;
    }))
    .await;
}

#[tokio::test]
async fn a_withdrawal_that_was_ended_by_force_is_started_again() {
    let world = World::new().await;
    let strategy = world.strategy().await;
    let pause = world.pause(&strategy, "0.45");
    world.arm("venue_confirm.before", "hang");
    world.start_any("PauseAndWithdraw", &id(&pause), &pause).await;
    world.reaches(&withdrawal_id(&pause), "attempted").await;
    let terminated =
        world.temporal(&["workflow", "terminate", "-w", &withdrawal_id(&pause), "--reason", "a test"]).await;
    assert!(terminated.status.success());
    world.disarm("venue_confirm.before");
    assert_eq!(world.end_of(&id(&pause)).await.kind(), "completed");
    assert_eq!(paid(&world, &pause).await, 1);
    assert_sound(&world).await;
}

#[tokio::test]
async fn cancelled_before_it_is_drained_it_waits_to_be_started_again() {
    let world = World::new().await;
    let strategy = world.strategy().await;
    world.place(&strategy, "sell", "120000", "0.7", true).await;
    let pause = world.pause(&strategy, "0.45");
    world.arm("venue_drain.before", "hang");
    world.start_any("PauseAndWithdraw", &id(&pause), &pause).await;
    world.books_say("SELECT status FROM strategies WHERE strategy_key = $1", &strategy.key, "stopped").await;
    assert!(world.temporal(&["workflow", "cancel", "-w", &id(&pause)]).await.status.success());
    assert_eq!(world.end_of(&id(&pause)).await, End::Cancelled);
    world.disarm("venue_drain.before");
    world.books_say("SELECT state FROM pauses WHERE 'pause/' || operation_id = $1", &id(&pause), "blocked").await;
    assert_eq!(world.run_any("PauseAndWithdraw", &id(&pause), &pause).await.kind(), "completed");
    assert_eq!(paid(&world, &pause).await, 1);
    assert_sound(&world).await;
}

#[tokio::test]
async fn an_operation_whose_workflows_are_gone_is_taken_up_by_the_watch() {
    let world = World::watched().await;
    let strategy = world.strategy().await;
    let pause = world.pause(&strategy, "0.45");
    world.arm("venue_confirm.before", "hang");
    world.start_any("PauseAndWithdraw", &id(&pause), &pause).await;
    world.reaches(&withdrawal_id(&pause), "attempted").await;
    for workflow in [id(&pause), withdrawal_id(&pause)] {
        let ended = world.temporal(&["workflow", "terminate", "-w", &workflow, "--reason", "a test"]).await;
        assert!(ended.status.success());
    }
    world.disarm("venue_confirm.before");
    world.books_say("SELECT state FROM pauses WHERE 'pause/' || operation_id = $1", &id(&pause), "completed").await;
    assert_eq!(paid(&world, &pause).await, 1);
    assert_sound(&world).await;
}
