//! Goal: a strategy is stopped, drained and withdrawn from, once, in whatever state it was found.

use backstop_tests::{End, World};

use crate::{assert_sound, events, id, paid, withdrawal_id};

#[tokio::test]
async fn a_strategy_with_open_orders_is_stopped_drained_and_withdrawn_from() {
    let world = World::new().await;
    let strategy = world.strategy().await;
    let sell = world.place(&strategy, "sell", "120000", "0.7", true).await;
    let buy = world.place(&strategy, "buy", "50000", "0.1", true).await;
    assert_eq!(world.holds(&strategy.user, "BTC").await, "0.3 + 0.7");
    let pause = world.pause(&strategy, "0.45");
    let End::Result(status) = world.run_any("PauseAndWithdraw", &id(&pause), &pause).await else { panic!("failed") };
    assert_eq!(status["state"], "completed");
    assert_eq!(paid(&world, &pause).await, 1);
    for order in [&sell, &buy] {
        assert_eq!(world.exchange.order(order).await["state"], "CANCELED");
    }
    assert_eq!(world.holds(&strategy.user, "BTC").await, "0.55 + 0");
    assert_eq!(world.holds(&strategy.user, "USDT").await, "10000 + 0");
    assert_eq!(
        events(&world, &pause).await,
        ["pending", "withdrawing", "completed"].map(|e| format!("pause_and_withdraw.{e}"))
    );
    let steps: Vec<String> = world.status_of(&id(&pause)).await.steps.into_iter().map(|step| step.step).collect();
    assert_eq!(
        steps,
        ["open operation", "stop strategy", "drain orders", "all money is free", "withdraw", "complete operation"]
    );
    // Started again, it answers with the same result, and nothing moves.
    assert_eq!(world.run_any("PauseAndWithdraw", &id(&pause), &pause).await, End::Result(status));
    assert_eq!(paid(&world, &pause).await, 1);
    assert_sound(&world).await;
}

#[tokio::test]
async fn a_strategy_without_orders_or_stopped_already_is_withdrawn_from() {
    let world = World::new().await;
    let strategy = world.strategy().await;
    let stop = sqlx::query("SELECT strategy_stop($1, 'somebody else', 'a bad feeling')").bind(&strategy.key);
    stop.execute(&mut world.database.worker().await).await.unwrap();
    let pause = world.pause(&strategy, "0.45");
    assert_eq!(world.run_any("PauseAndWithdraw", &id(&pause), &pause).await.kind(), "completed");
    assert_eq!(paid(&world, &pause).await, 1);
    let by = "SELECT changed_by FROM strategies WHERE strategy_key = $1";
    world.books_say(by, &strategy.key, "somebody else").await;
    assert_sound(&world).await;
}

#[tokio::test]
async fn a_second_strategy_of_the_same_user_and_asset_goes_on_undisturbed() {
    let world = World::new().await;
    let strategy = world.strategy().await;
    let other = world.strategy_of(&strategy.user).await;
    let ours = world.place(&strategy, "sell", "120000", "0.2", true).await;
    let theirs = world.place(&other, "sell", "120000", "0.3", true).await;
    let pause = world.pause(&strategy, "0.45");
    assert_eq!(world.run_any("PauseAndWithdraw", &id(&pause), &pause).await.kind(), "completed");
    assert_eq!(world.exchange.order(&ours).await["state"], "CANCELED");
    assert_eq!(world.exchange.order(&theirs).await["state"], "NEW");
    assert_eq!(world.holds(&strategy.user, "BTC").await, "0.25 + 0.3");
    world.books_say("SELECT status FROM strategies WHERE strategy_key = $1", &other.key, "running").await;
    assert_sound(&world).await;
}

#[tokio::test]
async fn an_operation_started_twice_at_once_under_two_ids_withdraws_once() {
    let world = World::new().await;
    let strategy = world.strategy().await;
    world.place(&strategy, "sell", "120000", "0.7", true).await;
    let pause = world.pause(&strategy, "0.45");
    let (one, two) = (id(&pause), format!("{}/other", id(&pause)));
    futures::join!(
        world.start_any("PauseAndWithdraw", &one, &pause),
        world.start_any("PauseAndWithdraw", &two, &pause)
    );
    let ends = futures::join!(world.end_of(&one), world.end_of(&two));
    let kinds = [ends.0.kind(), ends.1.kind()];
    assert!(kinds.contains(&"completed") && kinds.iter().all(|kind| ["completed", "Held"].contains(kind)), "{kinds:?}");
    assert_eq!(paid(&world, &pause).await, 1);
    assert_sound(&world).await;
}

#[tokio::test]
async fn a_withdrawal_that_the_venue_refuses_fails_the_operation_and_the_money_is_the_users() {
    let world = World::new().await;
    let strategy = world.strategy().await;
    let pause = world.pause(&strategy, "0.45");
    let fault = serde_json::json!({"fault": "reject", "code": -4026});
    world.exchange.fault(backstop_tests::exchange::APPLY, &withdrawal_id(&pause), fault).await;
    let end = world.run_any("PauseAndWithdraw", &id(&pause), &pause).await;
    let End::Result(status) = &end else { panic!("{end:?}") };
    assert_eq!(status["state"], "failed");
    assert!(status["reason"].as_str().unwrap().contains("-4026"), "{status}");
    assert_eq!(events(&world, &pause).await.last().unwrap(), "pause_and_withdraw.failed");
    assert_eq!(world.holds(&strategy.user, "BTC").await, "1 + 0");
    assert_eq!(world.run_any("PauseAndWithdraw", &id(&pause), &pause).await, end);
    assert_sound(&world).await;
}
