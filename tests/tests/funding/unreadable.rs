//! Goal: a deposit that can't be read, or not be booked yet, stands in no other's way, is seen, and is booked once it can be.

use backstop_tests::World;
use serde_json::{Value, json};

use crate::assert_sound;

const DEPOSITS: &str = "/sapi/v1/capital/deposit/hisrec";
const HOUR_MS: i64 = 3_600_000;
const STATE: &str = "SELECT state FROM deposits WHERE deposit_id = $1";
const FINDING: &str = "SELECT state || ' ' || severity FROM findings WHERE kind || ' ' || subject = $1";
/// More places than the books have.
const TOO_FINE: &str = "0.1234567890123456789";

/// A watched world without its worker, whose deposits were read up to some hours ago; and the time.
async fn read_until(hours_ago: i64) -> (World, i64) {
    let mut world = World::without_worker().await;
    world.watch();
    let mut books = world.database.owner().await;
    let now = "SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint";
    let now: i64 = sqlx::query_scalar(now).fetch_one(&mut books).await.unwrap();
    let mark = sqlx::query("SELECT watermark_set('deposits/binance', $1)").bind(now - hours_ago * HOUR_MS);
    mark.execute(&mut books).await.unwrap();
    (world, now)
}

fn deposit(id: &str, coin: &str, amount: &str, inserted_at_ms: i64) -> Value {
    json!({"id": id, "coin": coin, "amount": amount, "address": "house", "tx_id": id, "insert_time_ms": inserted_at_ms})
}

#[tokio::test]
async fn a_deposit_that_cannot_be_read_is_seen_and_booked_once_it_can_be() {
    let (mut world, now) = read_until(3).await;
    let early = now - 5 * HOUR_MS / 2;
    world.exchange.deposit_by(deposit("odd", "BTC", TOO_FINE, early)).await;
    world.exchange.deposit_by(deposit("good", "BTC", "0.5", early)).await;
    world.start_worker().await;
    world.books_say(STATE, "good", "suspended").await;
    world.books_say(FINDING, "deposit_unreadable deposit/binance/odd", "open warning").await;
    // Whatever of it was read and not understood is read again, long after it would have been left behind.
    world.exchange.is_asked_twice(DEPOSITS).await;
    world.exchange.deposit_by(deposit("odd", "BTC", "0.25", early)).await;
    world.books_say(STATE, "odd", "suspended").await;
    world.books_say(FINDING, "deposit_unreadable deposit/binance/odd", "closed warning").await;
    assert_eq!(world.holds("~suspense", "BTC").await, "0.75 + 0");
    assert_sound(&world).await;
}

#[tokio::test]
async fn a_deposit_of_an_asset_that_nobody_knows_is_booked_once_somebody_adds_it() {
    let (mut world, now) = read_until(3).await;
    let mut books = world.database.owner().await;
    let forget = "SET session_replication_role = replica;
                  DELETE FROM house_positions WHERE asset = 'BNB'; DELETE FROM networks WHERE asset = 'BNB';
                  DELETE FROM assets WHERE asset = 'BNB'; RESET session_replication_role";
    sqlx::raw_sql(forget).execute(&mut books).await.unwrap();
    world.exchange.deposit_by(deposit("new", "BNB", "2", now - 5 * HOUR_MS / 2)).await;
    world.start_worker().await;
    world.books_say(FINDING, "deposit_not_bookable deposit/binance/new", "open warning").await;
    world.exchange.is_asked_twice(DEPOSITS).await;
    sqlx::query("INSERT INTO assets (asset, decimals) VALUES ('BNB', 8)").execute(&mut books).await.unwrap();
    world.books_say(STATE, "new", "suspended").await;
    world.books_say(FINDING, "deposit_not_bookable deposit/binance/new", "closed warning").await;
    assert_sound(&world).await;
}

#[tokio::test]
async fn what_nobody_can_read_is_not_read_again_for_ever() {
    let (mut world, now) = read_until(9 * 24).await;
    let early = now - 8 * 24 * HOUR_MS;
    world.exchange.deposit_by(deposit("odd", "BTC", TOO_FINE, early)).await;
    world.start_worker().await;
    world.books_say(FINDING, "deposit_unreadable deposit/binance/odd", "open warning").await;
    let left_behind = "SELECT (at_ms > $1::bigint)::text FROM watermarks WHERE name = 'deposits/binance'";
    world.books_say(left_behind, &(early + 12 * HOUR_MS).to_string(), "true").await;
}
