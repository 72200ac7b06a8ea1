//! Goal: every deposit of the venue is booked exactly once, to its owner or to suspense.

use backstop_domain::{Amount, RefusalKind};

use crate::desk::{Desk, assert_refused};

fn amount() -> Amount {
    "0.25".parse().unwrap()
}

#[tokio::test]
async fn a_deposit_reported_twice_is_credited_once() {
    let mut desk = Desk::open().await;
    assert!(desk.books.deposit_credit("binance", "d-1", Some("alice"), "BTC", amount()).await.unwrap());
    let before = desk.everything().await;
    assert!(!desk.books.deposit_credit("binance", "d-1", Some("alice"), "BTC", amount()).await.unwrap());
    assert_eq!(desk.everything().await, before);
    assert_eq!(desk.available("alice").await, "2.25");
    // The id is the venue's own: another venue's deposit with the same id is another deposit.
    assert!(desk.books.deposit_credit("kraken", "d-1", Some("alice"), "BTC", amount()).await.unwrap());
    assert_eq!(desk.available("alice").await, "2.5");
    desk.assert_sound().await;
}

#[tokio::test]
async fn a_deposit_reported_again_with_another_content_is_refused_by_the_name_of_the_field() {
    let mut desk = Desk::open().await;
    desk.books.deposit_credit("binance", "d-1", Some("alice"), "BTC", amount()).await.unwrap();
    let before = desk.everything().await;
    for (owner, asset, other, field) in [
        (Some("bob"), "BTC", amount(), "user_id"),
        (None, "BTC", amount(), "user_id"),
        (Some("alice"), "ETH", amount(), "asset_id"),
        (Some("alice"), "BTC", "0.26".parse().unwrap(), "amount"),
    ] {
        let result = desk.books.deposit_credit("binance", "d-1", owner, asset, other).await;
        assert_refused(result, RefusalKind::Conflict, "field", field);
    }
    assert_eq!(desk.everything().await, before);
}

#[tokio::test]
async fn a_deposit_of_nobody_we_know_waits_in_suspense_with_a_finding() {
    let mut desk = Desk::open().await;
    assert!(desk.books.deposit_credit("binance", "d-1", None, "BTC", amount()).await.unwrap());
    assert!(!desk.books.deposit_credit("binance", "d-1", None, "BTC", amount()).await.unwrap());
    assert_eq!(desk.available("~suspense").await, "0.25");
    assert_eq!(desk.findings().await, ["deposit_without_owner deposit/binance/d-1"]);
    assert_eq!(desk.announced().await, ["deposit/binance/d-1 deposit.suspended"]);
    let known = desk.books.deposit_credit("binance", "d-1", Some("alice"), "BTC", amount()).await;
    assert_refused(known, RefusalKind::Conflict, "field", "user_id");
    desk.assert_sound().await;
}

#[tokio::test]
async fn a_first_deposit_makes_the_account() {
    let mut desk = Desk::open().await;
    assert!(desk.books.deposit_credit("binance", "d-1", Some("carol"), "BTC", amount()).await.unwrap());
    assert_eq!(desk.available("carol").await, "0.25");
    desk.assert_sound().await;
}

#[tokio::test]
async fn a_deposit_of_an_unknown_asset_is_refused_and_leaves_nothing_behind() {
    let mut desk = Desk::open().await;
    let before = desk.everything().await;
    let result = desk.books.deposit_credit("binance", "d-1", Some("alice"), "DOGE", amount()).await;
    assert_refused(result, RefusalKind::InvalidInput, "field", "asset_id");
    assert_eq!(desk.everything().await, before);
}
