//! Goal: what is set aside is set aside once, for one holder, and given back once.

use backstop_domain::{Amount, RefusalKind};

use crate::desk::{Desk, assert_refused, refusal};

fn amount() -> Amount {
    "0.5".parse().unwrap()
}

#[tokio::test]
async fn money_set_aside_twice_is_locked_once_and_given_back_once() {
    let mut desk = Desk::open().await;
    assert!(desk.books.reservation_open("r-1", "w", "alice", "BTC", amount()).await.unwrap());
    assert!(!desk.books.reservation_open("r-1", "w", "alice", "BTC", amount()).await.unwrap());
    assert_eq!(desk.balance("alice").await, ("1.5".into(), "0.5".into()));
    assert!(desk.books.reservation_release("r-1", "w", "alice", "BTC", amount()).await.unwrap());
    assert!(!desk.books.reservation_release("r-1", "w", "alice", "BTC", amount()).await.unwrap());
    assert_eq!(desk.balance("alice").await, ("2".into(), "0".into()));
    desk.assert_sound().await;
}

#[tokio::test]
async fn a_reservation_is_refused_to_others_and_with_another_content() {
    let mut desk = Desk::open().await;
    desk.books.reservation_open("r-1", "w", "alice", "BTC", amount()).await.unwrap();
    let before = desk.everything().await;
    let books = &desk.books;
    assert_refused(
        books.reservation_open("r-1", "v", "alice", "BTC", amount()).await,
        RefusalKind::Held,
        "holder",
        "w",
    );
    assert_refused(
        books.reservation_release("r-1", "v", "alice", "BTC", amount()).await,
        RefusalKind::Held,
        "holder",
        "w",
    );
    let one = "1".parse().unwrap();
    for (user, asset, amount, field) in
        [("bob", "BTC", amount(), "user_id"), ("alice", "USDT", amount(), "asset_id"), ("alice", "BTC", one, "amount")]
    {
        let conflict = RefusalKind::Conflict;
        assert_refused(books.reservation_open("r-1", "w", user, asset, amount).await, conflict, "field", field);
        assert_refused(books.reservation_release("r-1", "w", user, asset, amount).await, conflict, "field", field);
    }
    assert_eq!(desk.everything().await, before);
}

#[tokio::test]
async fn a_release_that_overtook_its_reservation_keeps_it_out_for_ever() {
    let mut desk = Desk::open().await;
    assert!(desk.books.reservation_release("r-1", "w", "alice", "BTC", amount()).await.unwrap());
    assert!(!desk.books.reservation_release("r-1", "w", "alice", "BTC", amount()).await.unwrap());
    let late = desk.books.reservation_open("r-1", "w", "alice", "BTC", amount()).await;
    assert_refused(late, RefusalKind::Abandoned, "subject", "r-1");
    assert_eq!(desk.balance("alice").await, ("2".into(), "0".into()));
    desk.assert_sound().await;
}

#[tokio::test]
async fn a_reservation_that_cannot_be_covered_or_cannot_work_leaves_nothing_behind() {
    let mut desk = Desk::open().await;
    let before = desk.everything().await;
    for (user, asset, amount, kind) in [
        ("alice", "BTC", "2.1", RefusalKind::InsufficientFunds),
        ("nobody", "BTC", "0.1", RefusalKind::InsufficientFunds),
        ("alice", "DOGE", "0.1", RefusalKind::InvalidInput),
        ("alice", "BTC", "0.000000001", RefusalKind::InvalidInput),
    ] {
        let result = desk.books.reservation_open("r-1", "w", user, asset, amount.parse().unwrap()).await;
        assert_eq!(refusal(result).kind, kind, "{user} {asset} {amount}");
    }
    assert_eq!(desk.everything().await, before);
}
