//! Goal: a person's correction is booked once, never below zero, and never without a record.

use backstop_domain::RefusalKind;

use crate::desk::{Desk, assert_refused, refusal};

#[tokio::test]
async fn a_correction_posted_twice_is_booked_once_and_is_on_the_record() {
    let mut desk = Desk::open().await;
    assert!(desk.adjust("a-1", "alice", "0.5").await.unwrap());
    assert!(desk.adjust("a-2", "alice", "-1.25").await.unwrap());
    let before = desk.everything().await;
    assert!(!desk.adjust("a-1", "alice", "0.50").await.unwrap());
    assert_eq!(desk.everything().await, before);
    assert_eq!(desk.available("alice").await, "1.25");
    assert_eq!(desk.acts().await, ["adjust alice/BTC 0.5 ann ticket 9", "adjust alice/BTC -1.25 ann ticket 9"]);
    let sql = "SELECT counter || ' ' || trim_scale(d_counter) FROM entries WHERE kind = 'adjustment' ORDER BY version";
    assert_eq!(desk.texts(sql).await, ["adjustment -0.5", "adjustment 1.25"]);
    desk.assert_sound().await;
}

#[tokio::test]
async fn a_correction_never_makes_a_balance_negative() {
    let mut desk = Desk::open().await;
    let before = desk.everything().await;
    assert_eq!(refusal(desk.adjust("a-1", "alice", "-2.00000001").await).kind, RefusalKind::InsufficientFunds);
    assert_eq!(refusal(desk.adjust("a-1", "nobody", "-1").await).kind, RefusalKind::InsufficientFunds);
    assert_eq!(desk.everything().await, before);
    assert!(desk.adjust("a-1", "alice", "-2").await.unwrap());
    assert_eq!(desk.available("alice").await, "0");
}

#[tokio::test]
async fn a_correction_with_another_content_or_an_impossible_amount_is_refused() {
    let mut desk = Desk::open().await;
    desk.adjust("a-1", "alice", "0.5").await.unwrap();
    let before = desk.everything().await;
    assert_refused(desk.adjust("a-1", "bob", "0.5").await, RefusalKind::Conflict, "field", "user_id");
    assert_refused(desk.adjust("a-1", "alice", "0.6").await, RefusalKind::Conflict, "field", "delta");
    for delta in ["0", "0.000000001", "NaN", "100000000000000000000"] {
        assert_refused(desk.adjust("a-2", "alice", delta).await, RefusalKind::InvalidInput, "field", "amount");
    }
    assert_eq!(desk.everything().await, before);
}

#[tokio::test]
async fn a_correction_without_a_reason_or_a_name_is_not_booked() {
    let mut desk = Desk::open().await;
    let before = desk.everything().await;
    for (operator, evidence) in [("", "ticket 9"), ("ann", "")] {
        let sql = "SELECT adjustment_post('a-1', $1, $2, 'alice', 'BTC', 1)";
        assert!(sqlx::query(sql).bind(operator).bind(evidence).execute(desk.books.pool()).await.is_err());
    }
    assert_eq!(desk.everything().await, before);
}
