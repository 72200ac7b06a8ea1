//! Goal: whatever the venue's orders and trades say otherwise than the books is found, and the account concerned frozen.

use backstop::stack::wait_until;
use backstop_tests::{World, corruption::Seeded, custody::now_ms, trading::Strategy, world::DEADLINE};
use serde_json::json;

use crate::{check, damage, finds, finds_nothing, frozen};

fn account(strategy: &Strategy) -> String {
    format!("{} BTC", strategy.user)
}

#[tokio::test]
async fn one_that_the_venue_does_not_have_and_one_that_it_has_ended_long_ago() {
    let world = World::new().await;
    let strategy = world.true_strategy().await;
    let order = world.place(&strategy, "sell", "110000", "0.1", true).await;
    finds_nothing(&world).await;
    world.exchange.hide_order(&order, true).await;
    finds(&world, &[format!("Critical order_not_at_venue order/{order}")]).await;
    assert_eq!(frozen(&world).await, [account(&strategy)]);
    world.exchange.hide_order(&order, false).await;
    finds_nothing(&world).await;
    // Whoever follows it gets his time.
    let late = world.place(&strategy, "sell", "110000", "0.1", true).await;
    world.exchange.end_order(&late, 0).await;
    world.exchange.end_order(&order, 600_000).await;
    finds(&world, &[format!("Warning order_ended_at_venue order/{order}")]).await;
    assert_eq!(frozen(&world).await, Vec::<String>::new());
    for order in [&order, &late] {
        let end = sqlx::query("SELECT order_end($1, 0, 'Canceled')").bind(order);
        end.execute(&mut world.database.worker().await).await.unwrap();
    }
    finds_nothing(&world).await;
}

#[tokio::test]
async fn one_that_is_open_there_only() {
    let world = World::new().await;
    let strategy = world.true_strategy().await;
    let stranger = world.place_behind_the_books("buy", "50000", "0.01").await;
    finds(&world, &[format!("Critical order_without_record order/{stranger}")]).await;
    assert_eq!(frozen(&world).await, Vec::<String>::new());
    world.exchange.end_order(&stranger, 0).await;
    finds_nothing(&world).await;
    let order = world.place(&strategy, "sell", "110000", "0.1", true).await;
    damage(&world, format!("UPDATE orders SET state = 'ended' WHERE order_id = '{order}'")).await;
    let orphaned = format!("Critical reservation_orphaned reservation/order/{order}");
    finds(&world, &[format!("Critical order_open_at_venue order/{order}"), orphaned]).await;
    assert_eq!(frozen(&world).await, [account(&strategy)]);
    damage(&world, format!("UPDATE orders SET state = 'placed' WHERE order_id = '{order}'")).await;
    finds_nothing(&world).await;
}

/// What came to nothing is nobody's business. What has traded is nobody's either, but is there: it waits in suspense, so that the
/// balances fit.
#[tokio::test]
async fn one_that_has_traded_and_is_over_there_only() {
    let world = World::new().await;
    world.true_strategy().await;
    let forgotten = world.place_behind_the_books("sell", "110000", "0.01").await;
    world.exchange.fill(&forgotten, json!({"qty": "0.003"})).await;
    world.exchange.fill(&forgotten, json!({"qty": "0.001", "fee": "0.0001", "fee_asset": "BNB"})).await;
    world.exchange.end_order(&forgotten, 0).await;
    let suspended = "SELECT concat_ws(' ', count(*), trim_scale(sum(base))) FROM suspended_fills WHERE $1 <> ''";
    for _ in 0..2 {
        finds(&world, &[format!("Critical order_without_record order/{forgotten}")]).await;
        world.books_say(suspended, "all", "2 0.004").await;
    }
    assert_eq!(frozen(&world).await, Vec::<String>::new());
}

/// Every send is on record before it is made, so the books have lost this one. Whoever is about to send looks first.
#[tokio::test]
async fn one_that_is_open_there_and_about_to_be_sent_here() {
    let world = World::new().await;
    let strategy = world.true_strategy().await;
    let order = world.place_and_forget(&strategy, "sell", "110000", "0.1").await;
    finds(&world, &[format!("Critical order_without_attempt order/{order}")]).await;
    assert_eq!(frozen(&world).await, Vec::<String>::new());
    world.exchange.end_order(&order, 0).await;
    finds_nothing(&world).await;
}

/// Cancelling an order gives it another client id, and the books may not know the venue's yet.
#[tokio::test]
async fn one_of_unknown_fate_that_was_cancelled_is_not_taken_for_anothers() {
    let world = World::new().await;
    let strategy = world.true_strategy().await;
    let order = world.place(&strategy, "sell", "110000", "0.1", false).await;
    world.send_unrecorded(&order, "sell", "110000", "0.1").await;
    world.exchange.fill(&order, json!({"qty": "0.04"})).await;
    world.cancel(&order).await;
    assert_ne!(world.exchange.order(&order).await["known_as"], order.as_str());
    finds_nothing(&world).await;
    damage(&world, format!("UPDATE orders SET state = 'void' WHERE order_id = '{order}'")).await;
    let report = check(&world).await;
    assert!(report.findings.iter().any(|finding| finding.kind == "order_without_record"), "{report:?}");
}

/// Nobody follows it any more. Its money was given back: what it trades is the house's loss and waits in suspense, so that the
/// balances fit.
#[tokio::test]
async fn one_that_shows_after_it_was_given_up_is_ended_there_and_its_trades_are_booked() {
    let world = World::new().await;
    let strategy = world.true_strategy().await;
    let order = world.place(&strategy, "sell", "110000", "0.1", false).await;
    let books = world.database.books(1).await;
    assert!(
        wait_until(DEADLINE, async || books.order_void(&order, now_ms().cast_signed(), false, "absent").await.unwrap())
            .await
    );
    world.send_unrecorded(&order, "sell", "110000", "0.1").await;
    world.exchange.fill(&order, json!({"qty": "0.04"})).await;
    let lasting = ["fill_beyond_reservation", "fill_not_expected", "order_placed_after_void"];
    let mut lasting = lasting.map(|kind| format!("Critical {kind} order/{order}")).to_vec();
    lasting.push(format!("Warning fee_beyond_proceeds fill/{order}/BTCUSDT:1"));
    finds(&world, &lasting).await;
    assert_eq!(frozen(&world).await, [account(&strategy)]);
    assert_eq!(world.exchange.order(&order).await["state"], "CANCELED");
    world.books_say("SELECT trim_scale(sum(base))::text FROM fills WHERE order_id = $1", &order, "0.04").await;
}

/// An order that has ended with a trade, each of whose numbers is spoiled in turn.
#[tokio::test]
async fn its_executed_quantity_and_each_of_its_fills() {
    let world = World::new().await;
    let strategy = world.true_strategy().await;
    let order = world.place(&strategy, "sell", "110000", "0.1", true).await;
    world.exchange.fill(&order, json!({"qty": "0.04"})).await;
    let pause = world.pause(&strategy, "0.3");
    let id = format!("pause/{}", pause["operation_id"].as_str().unwrap());
    assert_eq!(world.run_any("PauseAndWithdraw", &id, &pause).await.kind(), "completed");
    finds_nothing(&world).await;
    let of = format!("WHERE order_id = '{order}'");
    let fill = format!("fill/{order}/BTCUSDT:1");
    let stray = format!("fill/{order}/BTCUSDT:999");
    let extra = format!(
        "INSERT INTO fills SELECT (jsonb_populate_record(f, '{{\"trade_id\": \"BTCUSDT:999\"}}')).* FROM fills AS f {of}"
    );
    let entry = |line: u8| format!("Critical entry_without_row entry/{fill}/{line}");
    let one = |found: String| vec![format!("Critical {found}")];
    // What was booked and not traded may be in what it gave, or in what it got.
    let both = vec![account(&strategy), format!("{} USDT", strategy.user)];
    for (damage, found, undo, frozen) in [
        (
            format!("UPDATE orders SET executed = 0.05 {of}"),
            one(format!("order_executed_differs order/{order}")),
            format!("UPDATE orders SET executed = 0.04 {of}"),
            both.clone(),
        ),
        (
            format!("UPDATE fills SET base = base * 2 {of}"),
            one(format!("fill_differs {fill}")),
            format!("UPDATE fills SET base = base / 2 {of}"),
            both.clone(),
        ),
        (
            format!("CREATE TABLE kept AS SELECT * FROM fills {of}; DELETE FROM fills {of}"),
            [one(format!("fill_missing {fill}")), vec![entry(1), entry(2), entry(3)]].concat(),
            "INSERT INTO fills SELECT * FROM kept".to_owned(),
            both.clone(),
        ),
        (
            extra,
            one(format!("fill_without_trade {stray}")),
            format!("DELETE FROM fills {of} AND trade_id = 'BTCUSDT:999'"),
            both,
        ),
    ] {
        world.is_found(&Seeded { damage, undo, found, frozen }).await;
    }
}

/// It was never sent, say the books; the venue has traded it.
#[tokio::test]
async fn one_that_is_over_here_before_it_was_sent_and_has_traded_there() {
    let world = World::new().await;
    let strategy = world.true_strategy().await;
    let order = world.place(&strategy, "sell", "110000", "0.1", true).await;
    world.exchange.fill(&order, json!({"qty": "0.04"})).await;
    world.exchange.end_order(&order, 0).await;
    finds_nothing(&world).await;
    let state = |set: &str| format!("UPDATE orders SET {set} WHERE order_id = '{order}'");
    let found = vec![
        format!("Critical order_executed_differs order/{order}"),
        format!("Critical fill_missing fill/{order}/BTCUSDT:1"),
        format!("Critical reservation_orphaned reservation/order/{order}"),
        // What has moved there, nobody is about to book.
        "Critical custody_differs asset/BTC".to_owned(),
        "Critical custody_differs asset/USDT".to_owned(),
    ];
    let damage = state("state = 'abandoned', signed_at = NULL");
    let undo = state("state = 'placed', signed_at = deadline - interval '1 s'");
    world.is_found(&Seeded { damage, undo, found, frozen: vec![account(&strategy)] }).await;
}

/// A trade that nobody has booked yet is on its way, unless it is old.
#[tokio::test]
async fn a_trade_of_an_open_order_is_missed_only_after_a_while() {
    let world = World::new().await;
    let strategy = world.true_strategy().await;
    let order = world.place(&strategy, "sell", "110000", "0.1", true).await;
    world.exchange.fill(&order, json!({"qty": "0.04"})).await;
    let report = check(&world).await;
    assert_eq!(report.summary, "nothing is wrong", "{report:?}");
    world.exchange.fill(&order, json!({"qty": "0.02", "time_ms": now_ms() - 360_000})).await;
    finds(&world, &[format!("Warning fill_missing fill/{order}/BTCUSDT:2")]).await;
    assert_eq!(frozen(&world).await, Vec::<String>::new());
}

/// Whoever follows it waits for them, and would for ever.
#[tokio::test]
async fn trades_that_never_show_of_an_order_that_is_over_there_are_missed_after_a_while() {
    let world = World::new().await;
    let strategy = world.true_strategy().await;
    let orders = [
        world.place(&strategy, "sell", "110000", "0.1", true).await,
        world.place(&strategy, "sell", "110000", "0.1", true).await,
    ];
    for (order, ended_ago_ms) in orders.iter().zip([600_000, 0]) {
        world.exchange.fill(order, json!({"qty": "0.04", "visible_from_ms": now_ms() + 3_600_000})).await;
        world.exchange.end_order(order, ended_ago_ms).await;
    }
    finds(&world, &[format!("Warning order_trades_missing order/{}", orders[0])]).await;
    assert_eq!(frozen(&world).await, Vec::<String>::new());
}
