//! Goal: a running strategy keeps its quotes where the market is, books what they trade, and leaves nothing behind.

use backstop_tests::{Verdict, World, operations::End};
use rust_decimal::Decimal;
use serde_json::json;

use crate::{Maker, assert_over, is_open, word};

#[tokio::test]
async fn quotes_follow_the_market_and_are_gone_after_the_stop() {
    let world = World::new().await;
    let maker = Maker::of(&world, 500).await;
    maker.start(&world).await;
    maker.has_quotes(&world, 4).await;
    let before = maker.quotes(&world).await;
    assert_eq!(before.iter().filter(|quote| quote.starts_with("BUY")).count(), 2, "{before:?}");
    world.exchange.set(json!({"prices": {"BTCUSDT": "61000"}})).await;
    let moved = async || {
        let now = maker.quotes(&world).await;
        now.len() == 4 && now.iter().all(|quote| !before.contains(quote))
    };
    assert!(backstop::stack::wait_until(backstop_tests::world::DEADLINE, moved).await, "the quotes did not follow");
    assert!(matches!(maker.stop(&world).await, End::Result(_)));
    assert_over(&world, &maker).await;
}

#[tokio::test]
async fn what_a_quote_trades_is_booked_by_a_tick() {
    let world = World::new().await;
    let maker = Maker::of(&world, 500).await;
    maker.start(&world).await;
    maker.has_quotes(&world, 4).await;
    let orders = world.exchange.all_orders().await;
    let sell = orders.iter().find(|order| order["side"] == "SELL" && is_open(order)).unwrap();
    world.exchange.fill(sell["client_id"].as_str().unwrap(), json!({"qty": "0.004"})).await;
    let sold = "SELECT coalesce(trim_scale(sum(f.base))::text, 'none') FROM fills AS f JOIN orders AS o USING (order_id) WHERE o.strategy_key = $1";
    world.books_say(sold, &maker.key, "0.004").await;
    maker.stop(&world).await;
    assert_over(&world, &maker).await;
    assert_eq!(world.holds(&maker.user, "BTC").await, "0.996 + 0");
}

/// One quote trades in two parts, the second of them while nobody is there to see it.
#[tokio::test]
async fn what_a_quote_trades_before_and_after_the_worker_dies_is_booked_once_and_the_rest_is_free() {
    let mut world = World::new().await;
    let maker = Maker::of(&world, 500).await;
    maker.start(&world).await;
    maker.has_quotes(&world, 4).await;
    let orders = world.exchange.all_orders().await;
    let sell = orders.iter().find(|order| order["side"] == "SELL" && is_open(order)).unwrap();
    let (id, price) = (sell["client_id"].as_str().unwrap(), sell["price"].as_str().unwrap());
    world.exchange.fill(id, json!({"qty": "0.004", "fee": "0.1", "fee_asset": "USDT"})).await;
    let sold = "SELECT concat_ws(' ', count(*), trim_scale(sum(base))) FROM fills WHERE order_id = $1";
    world.books_say(sold, id, "1 0.004").await;
    world.kill_worker().await;
    world.exchange.fill(id, json!({"qty": "0.006", "fee": "0.2", "fee_asset": "USDT"})).await;
    world.start_worker().await;
    world.books_say(sold, id, "2 0.01").await;
    world.books_say("SELECT state FROM orders WHERE order_id = $1", id, "ended").await;
    maker.stop(&world).await;
    assert_over(&world, &maker).await;
    assert_eq!(world.holds(&maker.user, "BTC").await, "0.99 + 0");
    let proceeds = Decimal::from(10_000) + price.parse::<Decimal>().unwrap() / Decimal::from(100) - Decimal::new(3, 1);
    assert_eq!(world.holds(&maker.user, "USDT").await, format!("{} + 0", proceeds.normalize()));
}

#[tokio::test]
async fn a_paused_strategy_withdraws_its_quotes_and_a_resumed_one_makes_them_again() {
    let world = World::new().await;
    let maker = Maker::of(&world, 500).await;
    maker.start(&world).await;
    maker.has_quotes(&world, 4).await;
    world.update(&maker.id(), "pause", word()).await.unwrap();
    maker.has_quotes(&world, 0).await;
    world.update(&maker.id(), "resume", word()).await.unwrap();
    maker.has_quotes(&world, 4).await;
    maker.stop(&world).await;
    assert_over(&world, &maker).await;
}

/// The run that was told so is gone, with all that it knew.
#[tokio::test]
async fn a_paused_strategy_whose_workflow_is_lost_is_run_again_paused() {
    let world = World::watched().await;
    let maker = Maker::of(&world, 500).await;
    maker.start(&world).await;
    maker.has_quotes(&world, 4).await;
    world.update(&maker.id(), "pause", word()).await.unwrap();
    let terminated = world.temporal(&["workflow", "terminate", "-w", &maker.id(), "--reason", "a test"]).await;
    assert!(terminated.status.success(), "{terminated:?}");
    maker.has_quotes(&world, 0).await;
    maker.ticks_are(&world, "it is not paused", |ticks| ticks.run > 2 && ticks.paused.is_some()).await;
    world.update(&maker.id(), "resume", word()).await.unwrap();
    maker.has_quotes(&world, 4).await;
    maker.stop(&world).await;
    assert_over(&world, &maker).await;
}

#[tokio::test]
async fn nothing_is_quoted_for_a_frozen_account() {
    let world = World::new().await;
    let maker = Maker::of(&world, 250).await;
    let freeze = sqlx::query("UPDATE accounts SET frozen_by = 'finding 7' WHERE owner = $1 AND asset = 'USDT'");
    freeze.bind(&maker.user).execute(&mut world.database.owner().await).await.unwrap();
    maker.start(&world).await;
    maker.shows(&world, "quote", &format!("the USDT account of {} is frozen by finding 7", maker.user)).await;
    let asked = "SELECT count(*)::text FROM intents WHERE content ->> 'strategy_key' = $1";
    world.books_say(asked, &maker.key, "0").await;
    maker.stop(&world).await;
    assert_over(&world, &maker).await;
}

#[tokio::test]
async fn a_venue_that_wants_to_be_left_alone_is_not_synced() {
    let world = World::new().await;
    let maker = Maker::of(&world, 250).await;
    maker.start(&world).await;
    maker.has_quotes(&world, 4).await;
    let close = sqlx::query("SELECT venue_back_off('binance', 600000, '429 Too many requests')");
    close.execute(&mut world.database.worker().await).await.unwrap();
    maker.shows(&world, "sync orders and fills", "binance wants to be left alone: 429 Too many requests").await;
    maker.shows(&world, "quote", "its orders are not synced").await;
    let open = sqlx::query("UPDATE venues SET closed_until = clock_timestamp(), next_at = clock_timestamp()");
    open.execute(&mut world.database.owner().await).await.unwrap();
    maker.shows(&world, "sync orders and fills", "4 orders open").await;
    maker.stop(&world).await;
    assert_over(&world, &maker).await;
}

#[tokio::test]
async fn a_pause_and_withdraw_ends_a_running_strategy() {
    let world = World::new().await;
    let maker = Maker::of(&world, 500).await;
    maker.start(&world).await;
    maker.has_quotes(&world, 4).await;
    let strategy = backstop_tests::trading::Strategy { key: maker.key.clone(), user: maker.user.clone() };
    let pause = world.pause(&strategy, "0.3");
    let id = format!("pause/{}", pause["operation_id"].as_str().unwrap());
    assert_eq!(world.run_any("PauseAndWithdraw", &id, &pause).await.kind(), "completed");
    assert!(matches!(world.end_of(&maker.id()).await, End::Result(_)));
    let withdrawal = format!("withdrawal/{}", pause["operation_id"].as_str().unwrap());
    let made = world.exchange.withdrawals(&withdrawal).await;
    assert_eq!(made.len(), 1, "{made:?} {:?}", Verdict::Paid);
    maker.has_quotes(&world, 0).await;
}

#[tokio::test]
async fn nothing_is_quoted_while_it_is_halted() {
    let world = World::new().await;
    let maker = Maker::of(&world, 500).await;
    let halt = sqlx::query("SELECT halt('venue', 'binance', false, 'olga', 'a test')");
    halt.execute(&mut world.database.owner().await).await.unwrap();
    maker.start(&world).await;
    maker.shows(&world, "quote", "venue/binance is halted by olga: a test").await;
    assert_eq!(world.exchange.all_orders().await, Vec::<serde_json::Value>::new());
    let lift = sqlx::query("SELECT halt_lift('venue', 'binance', 'olga', 'over')");
    lift.execute(&mut world.database.owner().await).await.unwrap();
    maker.has_quotes(&world, 4).await;
    maker.stop(&world).await;
    assert_over(&world, &maker).await;
}

#[tokio::test]
async fn one_that_is_stopped_in_the_books_ends_its_orders() {
    let world = World::new().await;
    let maker = Maker::of(&world, 500).await;
    maker.start(&world).await;
    maker.has_quotes(&world, 4).await;
    let stop = sqlx::query("SELECT strategy_stop($1, 'olga', 'a test')").bind(&maker.key);
    stop.execute(&mut world.database.owner().await).await.unwrap();
    assert!(matches!(world.end_of(&maker.id()).await, End::Result(_)));
    assert_over(&world, &maker).await;
}
