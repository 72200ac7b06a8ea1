//! Goal: whatever the venue's orders and trades say otherwise than the books is found, and the account concerned frozen.

use backstop::stack::wait_until;
use backstop_tests::{World, custody::now_ms, trading::Strategy, world::DEADLINE};
use serde_json::json;

use crate::{check, damage, finds, finds_nothing, frozen, named};

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
    finds(&world, &[format!("Critical order_open_at_venue order/{order}")]).await;
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
    for (spoil, found, undo) in [
        (
            format!("UPDATE orders SET executed = 0.05 {of}"),
            format!("order_executed_differs order/{order}"),
            format!("UPDATE orders SET executed = 0.04 {of}"),
        ),
        (
            format!("UPDATE fills SET base = base * 2 {of}"),
            format!("fill_differs {fill}"),
            format!("UPDATE fills SET base = base / 2 {of}"),
        ),
        (
            format!("CREATE TABLE kept AS SELECT * FROM fills {of}; DELETE FROM fills {of}"),
            format!("fill_missing {fill}"),
            "INSERT INTO fills SELECT * FROM kept".to_owned(),
        ),
        (extra, format!("fill_without_trade {stray}"), format!("DELETE FROM fills {of} AND trade_id = 'BTCUSDT:999'")),
    ] {
        damage(&world, spoil).await;
        finds(&world, &[format!("Critical {found}")]).await;
        assert_eq!(frozen(&world).await, [account(&strategy)], "{found}");
        damage(&world, undo).await;
        finds_nothing(&world).await;
    }
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

/// A running strategy of a user at a market that the venue does not list, by its symbol, as after it was delisted.
async fn delisted(world: &World, user: &str) -> &'static str {
    let mut owner = world.database.owner().await;
    let start = sqlx::query("SELECT strategy_start('ghost', $1, 'binance', 'XRP', 'USDT', '{}', 'olga')");
    start.bind(user).execute(&mut owner).await.unwrap();
    "XRPUSDT"
}

/// Goes on at every other market, and says what is wrong with that one. Nothing that was found there is over.
#[tokio::test]
async fn a_market_that_can_not_be_looked_at_keeps_no_other_from_being_looked_at() {
    let world = World::new().await;
    let strategy = world.true_strategy().await;
    let order = world.place(&strategy, "sell", "110000", "0.1", true).await;
    let symbol = delisted(&world, &strategy.user).await;
    let find = "INSERT INTO findings (kind, subject, severity, evidence, found_by)
                VALUES ('order_without_record', 'order/x', 'critical', jsonb_build_object('symbol', $1::text), 'orders/binance')";
    sqlx::query(find).bind(symbol).execute(&mut world.database.owner().await).await.unwrap();
    let open = "SELECT string_agg(kind, ' ' ORDER BY kind) FROM findings WHERE state = 'open' AND $1 <> ''";
    for (hidden, found) in [(true, "order_not_at_venue order_without_record"), (false, "order_without_record")] {
        world.exchange.hide_order(&order, hidden).await;
        wait_for(&world, open, found).await;
        let report = check(&world).await;
        let told = named(&report, "orders/binance");
        assert!(!told.looked && told.note.contains("XRPUSDT could not be looked at: "), "{told:?}");
        assert!(told.note.contains("-1121"), "{told:?}");
        for other in ["payouts/binance", "deposits/binance", "custody"] {
            assert!(named(&report, other).looked, "{report:?}");
        }
    }
}

/// Reconciles until the books say so.
async fn wait_for(world: &World, sql: &'static str, expected: &str) {
    let mut said: Option<String> = None;
    let held = wait_until(DEADLINE, async || {
        check(world).await;
        let query = sqlx::query_scalar(sql).bind("all");
        said = query.fetch_one(&mut world.database.owner().await).await.unwrap();
        said.as_deref() == Some(expected)
    });
    assert!(held.await, "{expected} instead of {said:?}");
}

/// Only a market where nothing has been open for as long as is looked back at can be left alone.
#[tokio::test]
async fn a_check_that_has_not_been_possible_for_long_is_found_until_it_is_made() {
    let world = World::new().await;
    let strategy = world.true_strategy().await;
    delisted(&world, &strategy.user).await;
    finds_but_for_orders(&world, &[]).await;
    let age = "UPDATE watermarks SET at_ms = at_ms - 901000 WHERE name = 'made/orders/binance'";
    sqlx::raw_sql(age).execute(&mut world.database.owner().await).await.unwrap();
    finds_but_for_orders(&world, &["check_not_made check/orders/binance"]).await;
    let stop = "SELECT strategy_stop('ghost', 'olga', 'delisted')";
    sqlx::raw_sql(stop).execute(&mut world.database.owner().await).await.unwrap();
    finds_but_for_orders(&world, &["check_not_made check/orders/binance"]).await;
    let age = "UPDATE strategies SET changed_at = changed_at - interval '3 days' WHERE strategy_key = 'ghost'";
    damage(&world, age.to_owned()).await;
    finds_nothing(&world).await;
}

async fn finds_but_for_orders(world: &World, expected: &[&str]) {
    let report = check(world).await;
    assert!(!named(&report, "orders/binance").looked, "{report:?}");
    let found: Vec<_> = report.findings.iter().map(|finding| format!("{} {}", finding.kind, finding.subject)).collect();
    assert_eq!(found, expected, "{report:?}");
}

/// Nobody can say what such an order has traded.
#[tokio::test]
async fn an_order_at_a_market_that_can_not_be_looked_at_leaves_custody_unsaid_and_not_wrong() {
    let world = World::new().await;
    let strategy = world.true_strategy().await;
    let order = world.place(&strategy, "sell", "110000", "0.1", true).await;
    delisted(&world, &strategy.user).await;
    finds_but_for_orders(&world, &[]).await;
    damage(&world, format!("UPDATE orders SET base = 'XRP' WHERE order_id = '{order}'")).await;
    let report = check(&world).await;
    let custody = named(&report, "custody");
    assert!(custody.looked && custody.note.contains("XRPUSDT could not be looked at"), "{report:?}");
}
