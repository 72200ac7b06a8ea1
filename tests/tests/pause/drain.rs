//! Goal: a strategy counts as drained only when every order is over and every unit it traded is booked.

use backstop_tests::{End, World};
use serde_json::json;

use crate::{assert_sound, events, id, paid};

#[tokio::test]
async fn fills_before_and_during_the_drain_are_booked_and_the_rest_is_released() {
    let world = World::new().await;
    let strategy = world.strategy().await;
    let sell = world.place(&strategy, "sell", "120000", "0.7", true).await;
    let buy = world.place(&strategy, "buy", "50000", "0.1", true).await;
    world.exchange.fill(&sell, json!({"qty": "0.1", "fee": "12", "fee_asset": "USDT"})).await;
    world.exchange.fill(&buy, json!({"qty": "0.05", "fee": "0.00005", "fee_asset": "BTC"})).await;
    let pause = world.pause(&strategy, "0.45");
    assert_eq!(world.run_any("PauseAndWithdraw", &id(&pause), &pause).await.kind(), "completed");
    // 1 - 0.1 + 0.05 - 0.00005 - 0.45, and 10000 + 12000 - 12 - 2500.
    assert_eq!(world.holds(&strategy.user, "BTC").await, "0.49995 + 0");
    assert_eq!(world.holds(&strategy.user, "USDT").await, "19488 + 0");
    assert_eq!(paid(&world, &pause).await, 1);
    assert_sound(&world).await;
}

#[tokio::test]
async fn trades_that_show_later_than_the_orders_end_are_waited_for() {
    let world = World::new().await;
    let strategy = world.strategy().await;
    let sell = world.place(&strategy, "sell", "120000", "0.7", true).await;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
    let late = u64::try_from(now).unwrap() + 1_500;
    world.exchange.fill(&sell, json!({"qty": "0.1", "visible_from_ms": late})).await;
    let pause = world.pause(&strategy, "0.45");
    world.start_any("PauseAndWithdraw", &id(&pause), &pause).await;
    world.shows_failure(&id(&pause), "is placed, 0 filled").await;
    assert_eq!(world.end_of(&id(&pause)).await.kind(), "completed");
    assert_eq!(world.holds(&strategy.user, "BTC").await, "0.45 + 0");
    assert_sound(&world).await;
}

#[tokio::test]
async fn an_order_whose_send_nobody_saw_is_waited_for_until_it_can_no_longer_show() {
    let world = World::new().await;
    let strategy = world.strategy().await;
    let lost = world.place(&strategy, "sell", "120000", "0.7", false).await;
    let pause = world.pause(&strategy, "0.45");
    assert_eq!(world.run_any("PauseAndWithdraw", &id(&pause), &pause).await.kind(), "completed");
    world.books_say("SELECT state FROM orders WHERE order_id = $1", &lost, "void").await;
    assert_eq!(world.holds(&strategy.user, "BTC").await, "0.55 + 0");
    assert_sound(&world).await;
}

#[tokio::test]
async fn a_drain_that_takes_too_long_says_what_is_open_leaves_reservations_true_and_can_go_on() {
    let world = World::new().await;
    let strategy = world.strategy().await;
    let sell = world.place(&strategy, "sell", "120000", "0.7", true).await;
    let mut pause = world.pause(&strategy, "0.45");
    pause["drain_timeout_seconds"] = json!(2);
    let deaf =
        world.exchange.fault_for_all("/api/v3/order", json!({"fault": "status", "status": 503, "times": 1000})).await;
    let End::Failed(kind, message) = world.run_any("PauseAndWithdraw", &id(&pause), &pause).await else {
        panic!("not refused")
    };
    assert_eq!(kind, "NotDrained");
    assert!(message.contains(&sell), "{message}");
    assert_eq!(world.holds(&strategy.user, "BTC").await, "0.3 + 0.7");
    assert_eq!(paid(&world, &pause).await, 0);
    assert_sound(&world).await;
    // Nothing is sent in its name meanwhile, and nobody may start it over the operation's head once it goes on.
    world.books_say("SELECT status FROM strategies WHERE strategy_key = $1", &strategy.key, "stopped").await;
    world.exchange.end_fault(&deaf).await;
    assert_eq!(world.run_any("PauseAndWithdraw", &id(&pause), &pause).await.kind(), "completed");
    assert_eq!(paid(&world, &pause).await, 1);
    let said = ["pending", "blocked", "pending", "withdrawing", "completed"].map(|e| format!("pause_and_withdraw.{e}"));
    assert_eq!(events(&world, &pause).await, said);
    assert_sound(&world).await;
}

#[tokio::test]
async fn an_order_whose_attempt_the_books_have_lost_is_taken_down_ended_and_seen() {
    let world = World::new().await;
    let strategy = world.strategy().await;
    let sell = world.place_and_forget(&strategy, "sell", "120000", "0.7").await;
    world.exchange.fill(&sell, json!({"qty": "0.1", "fee": "12", "fee_asset": "USDT"})).await;
    let mut pause = world.pause(&strategy, "0.45");
    pause["drain_timeout_seconds"] = json!(30);
    assert_eq!(world.run_any("PauseAndWithdraw", &id(&pause), &pause).await.kind(), "completed");
    assert_eq!(world.exchange.order(&sell).await["state"], "CANCELED");
    world.books_say("SELECT state FROM orders WHERE order_id = $1", &sell, "ended").await;
    assert_eq!(world.holds(&strategy.user, "BTC").await, "0.45 + 0");
    assert_eq!(world.holds(&strategy.user, "USDT").await, "21988 + 0");
    let found = "SELECT severity FROM findings WHERE state = 'open' AND kind || ' ' || subject = $1";
    world.books_say(found, &format!("order_placed_without_attempt order/{sell}"), "critical").await;
    assert_sound(&world).await;
}

#[tokio::test]
async fn an_order_that_its_placer_left_behind_unsent_is_given_up() {
    let world = World::new().await;
    let strategy = world.strategy().await;
    let left = world.open_order(&strategy, "sell", "120000", "0.7").await;
    let mut pause = world.pause(&strategy, "0.45");
    pause["drain_timeout_seconds"] = json!(30);
    assert_eq!(world.run_any("PauseAndWithdraw", &id(&pause), &pause).await.kind(), "completed");
    world.books_say("SELECT state FROM orders WHERE order_id = $1", &left, "abandoned").await;
    assert_eq!(world.holds(&strategy.user, "BTC").await, "0.55 + 0");
    assert_sound(&world).await;
}

#[tokio::test]
async fn a_round_that_takes_longer_than_the_receive_window_is_signed_with_the_time_of_each_call() {
    let mut world = World::without_worker().await;
    world.receive_window_ms = 2_000;
    world.start_worker().await;
    let strategy = world.strategy().await;
    for _ in 0..5 {
        world.place(&strategy, "sell", "120000", "0.1", true).await;
    }
    let slow = json!({"fault": "delay_answer", "ms": 700, "method": "GET", "times": 1000});
    let slow = world.exchange.fault_for_all("/api/v3/order", slow).await;
    let pause = world.pause(&strategy, "0.45");
    assert_eq!(world.run_any("PauseAndWithdraw", &id(&pause), &pause).await.kind(), "completed");
    world.exchange.end_fault(&slow).await;
    let log = world.exchange.log().await;
    let asked = log.iter().filter(|request| request["path"] == "/api/v3/order" && request["method"] == "GET").count();
    let late: Vec<_> = log.iter().filter(|request| request["code"] == -1021).collect();
    assert!(asked >= 5 && late.is_empty(), "{asked} asked, too late: {late:#?}");
    assert_sound(&world).await;
}
