//! Goal: a market that can't be looked at, as one that the venue no longer lists, keeps nothing else from being looked at, and is told.

use backstop::stack::wait_until;
use backstop_tests::{World, world::DEADLINE};

use crate::{check, damage, finds_nothing, named};

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
