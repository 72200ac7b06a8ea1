//! Goal: one id opens one payout, for one workflow, with one content, once; and an undo wins over any opening after it.

use backstop_domain::{RefusalKind, machine::PayoutState, payout::PayoutOrder};
use serde_json::Value;

use crate::desk::{Desk, LONG, assert_refused, held, id, order, refusal};

type Change = fn(&mut PayoutOrder);

/// One change for each field of the content.
fn other_contents() -> Vec<(&'static str, Change)> {
    vec![
        ("user_id", |order| order.user_id = id("bob")),
        ("asset_id", |order| order.asset_id = id("ETH")),
        ("amount", |order| order.amount = "0.2".parse().unwrap()),
        ("destination.network", |order| order.destination.network = id("ETH")),
        ("destination.address", |order| order.destination.address = id("1BoatSLRHtKNngkdXEeobR76b53LETtpyT")),
        ("destination.tag", |order| order.destination.tag = Some(id("17"))),
        ("reason", |order| order.reason = Some(id("goodwill"))),
    ]
}

#[tokio::test]
async fn a_payout_opened_twice_leaves_the_balance_once() {
    let mut desk = Desk::open().await;
    let order = order("r", "0.5");
    let first = desk.books.payout_open(&order).await.unwrap();
    let everything = desk.everything().await;
    let second = desk.books.payout_open(&order).await.unwrap();
    assert_eq!((first.applied, second.applied), (true, false));
    assert_eq!(first.receipt, second.receipt);
    assert_eq!(desk.everything().await, everything);
    assert_eq!(desk.available("alice").await, "1.5");
}

#[tokio::test]
async fn an_amount_written_otherwise_is_the_same_content() {
    let desk = Desk::open().await;
    desk.books.payout_open(&order("r", "0.5")).await.unwrap();
    assert!(!desk.books.payout_open(&order("r", "0.500")).await.unwrap().applied);
}

#[tokio::test]
async fn an_id_with_another_content_is_refused_by_the_name_of_each_field() {
    let mut desk = Desk::open().await;
    let mine = order("r", "0.5");
    assert_eq!(other_contents().len(), mine.content().as_object().unwrap().len(), "a field is not tried");
    desk.books.payout_open(&mine).await.unwrap();
    let before = desk.everything().await;
    for (field, change) in other_contents() {
        let mut other = mine.clone();
        change(&mut other);
        assert_refused(desk.books.payout_open(&other).await, RefusalKind::Conflict, "field", field);
        assert_refused(desk.books.payout_abandon(&other, "x").await, RefusalKind::Conflict, "field", field);
    }
    assert_eq!(desk.everything().await, before);
}

#[tokio::test]
async fn another_workflow_is_told_who_holds_the_payout_until_it_is_over() {
    let mut desk = Desk::open().await;
    let mine = order("r", "0.5");
    let theirs = PayoutOrder { holder: "workflow-2".into(), ..mine.clone() };
    desk.unsent(&mine).await;
    let before = desk.everything().await;
    assert_refused(desk.books.payout_open(&theirs).await, RefusalKind::Held, "holder", "workflow-1");
    assert_refused(desk.books.payout_abandon(&theirs, "x").await, RefusalKind::Held, "holder", "workflow-1");
    let attempt = desk.books.payout_attempt(&held(&theirs), LONG, LONG).await;
    assert_refused(attempt, RefusalKind::Held, "holder", "workflow-1");
    assert_eq!(desk.everything().await, before);
    desk.books.payout_return(&held(&mine), "rejected", None).await.unwrap();
    let answer = desk.books.payout_open(&theirs).await.unwrap();
    assert_eq!((answer.applied, answer.receipt.state), (false, PayoutState::Returned));
    assert_eq!(answer.holder, "workflow-1");
}

#[tokio::test]
async fn an_undo_that_overtook_its_opening_keeps_it_out_for_ever() {
    let mut desk = Desk::open().await;
    let order = order("r", "0.5");
    let tombstone = desk.books.payout_abandon(&order, "cancelled").await.unwrap();
    assert_eq!((tombstone.applied, tombstone.receipt.state), (true, PayoutState::Abandoned));
    assert!(!desk.books.payout_abandon(&order, "cancelled").await.unwrap().applied);
    let before = desk.everything().await;
    assert_refused(desk.books.payout_open(&order).await, RefusalKind::Abandoned, "reason", "cancelled");
    assert_eq!(desk.everything().await, before);
    assert_eq!(desk.available("alice").await, "2");
    desk.assert_sound().await;
}

#[tokio::test]
async fn an_undone_payout_gives_the_money_back_once_and_stays_undone() {
    let mut desk = Desk::open().await;
    let order = order("r", "0.5");
    desk.books.payout_open(&order).await.unwrap();
    assert!(desk.books.payout_abandon(&order, "cancelled").await.unwrap().applied);
    assert!(!desk.books.payout_abandon(&order, "again").await.unwrap().applied);
    assert_eq!(desk.standing(&order).await.receipt.reason.as_deref(), Some("cancelled"));
    assert_eq!(desk.available("alice").await, "2");
    assert_eq!(refusal(desk.books.payout_open(&order).await).kind, RefusalKind::Abandoned);
    desk.assert_sound().await;
}

#[tokio::test]
async fn an_undo_after_the_first_attempt_comes_too_late() {
    let mut desk = Desk::open().await;
    let order = order("r", "0.5");
    desk.attempted(&order, LONG).await;
    let before = desk.everything().await;
    assert_refused(desk.books.payout_abandon(&order, "x").await, RefusalKind::TooLate, "state", "attempted");
    assert_eq!(desk.everything().await, before);
}

#[tokio::test]
async fn input_that_can_never_work_is_refused_by_the_name_of_its_field() {
    let mut desk = Desk::open().await;
    let before = desk.everything().await;
    let cases: Vec<(&str, Change)> = vec![
        ("asset_id", |order| order.asset_id = id("DOGE")),
        ("amount", |order| order.amount = "0.000000001".parse().unwrap()),
        ("destination.network", |order| order.destination.network = id("ETH")),
        ("destination.address", |order| order.destination.address = id("bc1short")),
        ("destination.tag", |order| order.destination.tag = Some(id("17"))),
        ("destination.tag", |order| {
            order.asset_id = id("XRP");
            order.destination.network = id("XRP");
            order.destination.address = id("rHb9CJAWyB4rj91VRWn96DkukG4bwdtyTh");
            order.destination.tag = Some(id("no number"));
        }),
    ];
    for (field, change) in cases {
        let mut order = order("r", "0.5");
        change(&mut order);
        assert_refused(desk.books.payout_open(&order).await, RefusalKind::InvalidInput, "field", field);
    }
    assert_eq!(desk.everything().await, before);
}

#[tokio::test]
async fn more_than_there_is_is_refused_and_leaves_nothing_behind() {
    let mut desk = Desk::open().await;
    let before = desk.everything().await;
    let refused = refusal(desk.books.payout_open(&order("r", "2.00000001")).await);
    assert_eq!(refused.kind, RefusalKind::InsufficientFunds);
    assert_eq!(refused.detail["available"], Value::from("2"));
    assert_eq!(refused.detail["needed"], Value::from("2.00000001"));
    let nobody = PayoutOrder { user_id: id("nobody"), ..order("r", "0.1") };
    assert_eq!(refusal(desk.books.payout_open(&nobody).await).kind, RefusalKind::InsufficientFunds);
    assert_eq!(desk.everything().await, before);
    assert!(desk.books.payout_open(&order("r", "2")).await.unwrap().applied, "the id is not free after a refusal");
    assert_eq!(desk.available("alice").await, "0");
}
