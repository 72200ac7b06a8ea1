//! Goal: a frozen account starts nothing new, while everything that has happened is still booked on it.

use backstop_domain::RefusalKind;

use crate::desk::{Desk, LONG, SHORT, assert_refused, held, order, paid};

#[tokio::test]
async fn a_frozen_account_opens_reserves_and_attempts_nothing_and_says_who_froze_it() {
    let mut desk = Desk::open().await;
    let waiting = order("waiting", "0.1");
    desk.books.payout_open(&waiting).await.unwrap();
    assert!(desk.freeze("alice", "finding 7").await);
    let before = desk.everything().await;
    let frozen = RefusalKind::Frozen;
    assert_refused(desk.books.payout_open(&order("r", "0.1")).await, frozen, "frozen_by", "finding 7");
    assert_refused(desk.books.payout_attempt(&held(&waiting), LONG, LONG).await, frozen, "frozen_by", "finding 7");
    let reserved = desk.books.reservation_open("r-1", "w", "alice", "BTC", "0.1".parse().unwrap()).await;
    assert_refused(reserved, frozen, "frozen_by", "finding 7");
    assert_refused(desk.adjust("a-1", "alice", "-0.1").await, frozen, "frozen_by", "finding 7");
    assert_eq!(desk.everything().await, before);
    assert!(desk.unfreeze("alice").await);
    desk.books.payout_attempt(&held(&waiting), LONG, LONG).await.unwrap();
    assert!(desk.books.payout_open(&order("r", "0.1")).await.unwrap().applied);
}

#[tokio::test]
async fn facts_are_booked_on_a_frozen_account() {
    let mut desk = Desk::open().await;
    let (settled, returned, undone) = (order("settled", "0.1"), order("returned", "0.2"), order("undone", "0.3"));
    let amount = "0.4".parse().unwrap();
    desk.attempted(&settled, SHORT).await;
    desk.unsent(&returned).await;
    desk.books.payout_open(&undone).await.unwrap();
    desk.books.reservation_open("r-1", "w", "alice", "BTC", amount).await.unwrap();
    desk.freeze("alice", "finding 7").await;
    assert!(desk.settle(&settled, &paid("w-1", "0.1", "0")).await.applied);
    assert!(desk.books.payout_return(&held(&returned), "rejected", None).await.unwrap().applied);
    assert!(desk.books.payout_abandon(&undone, "cancelled").await.unwrap().applied);
    assert!(desk.books.reservation_release("r-1", "w", "alice", "BTC", amount).await.unwrap());
    assert!(desk.books.deposit_credit("binance", "d-1", Some("alice"), "BTC", amount).await.unwrap());
    assert!(desk.adjust("a-1", "alice", "0.1").await.unwrap());
    assert_eq!(desk.available("alice").await, "2.4");
    desk.assert_sound().await;
}

#[tokio::test]
async fn the_first_freeze_stays_and_lifting_it_is_on_the_record() {
    let mut desk = Desk::open().await;
    assert!(desk.freeze("alice", "finding 7").await);
    assert!(!desk.freeze("alice", "finding 8").await);
    assert_refused(desk.books.payout_open(&order("r", "0.1")).await, RefusalKind::Frozen, "frozen_by", "finding 7");
    assert!(desk.unfreeze("alice").await);
    assert!(!desk.unfreeze("alice").await);
    assert_eq!(desk.acts().await, ["unfreeze alice/BTC ann ticket 8"]);
    assert_eq!(desk.announced().await, ["account/alice/BTC account.frozen", "account/alice/BTC account.unfrozen"]);
    assert_eq!(desk.texts("SELECT owner FROM accounts WHERE frozen_by IS NOT NULL").await, Vec::<String>::new());
}

#[tokio::test]
async fn an_account_can_be_frozen_before_anything_has_happened_on_it() {
    let mut desk = Desk::open().await;
    assert!(desk.freeze("carol", "finding 7").await);
    let amount = "0.4".parse().unwrap();
    desk.books.deposit_credit("binance", "d-1", Some("carol"), "BTC", amount).await.unwrap();
    let reserved = desk.books.reservation_open("r-1", "w", "carol", "BTC", amount).await;
    assert_refused(reserved, RefusalKind::Frozen, "frozen_by", "finding 7");
    assert_eq!(desk.announced().await[0], "account/carol/BTC account.frozen");
}
