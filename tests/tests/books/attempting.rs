//! Goal: nothing is sent twice while an earlier send may have had an effect, and an attempt is void only on proof.

use backstop_domain::{
    RefusalKind,
    machine::{AttemptEvent, AttemptState, PayoutState},
};
use serde_json::Value;

use crate::desk::{Desk, LONG, SHORT, assert_refused, held, order, refusal};

#[tokio::test]
async fn leave_to_send_is_numbered_and_signed_by_the_books_clock() {
    let mut desk = Desk::open().await;
    let order = order("r", "0.5");
    let permit = desk.attempted(&order, LONG).await;
    let rows = desk.books.payout_attempts(&order.payout_id).await.unwrap();
    assert_eq!((permit.attempt, rows.len(), rows[0].state), (1, 1, AttemptState::Pending));
    assert_eq!(rows[0].signed_at_ms, permit.signed_at_ms);
    assert_eq!(rows[0].void_after_ms, permit.signed_at_ms + 1 + 3_600_000);
    assert_eq!(permit.client_id, desk.standing(&order).await.receipt.client_id);
    assert_eq!(desk.standing(&order).await.receipt.state, PayoutState::Attempted);
    assert_eq!(desk.available("alice").await, "1.5");
}

#[tokio::test]
async fn no_second_send_while_the_first_may_have_had_an_effect() {
    let mut desk = Desk::open().await;
    for (outcome, event) in [
        (AttemptState::Pending, None),
        (AttemptState::Unknown, Some(AttemptEvent::Lose)),
        (AttemptState::Accepted, Some(AttemptEvent::Accept)),
    ] {
        let order = order(outcome.name(), "0.1");
        desk.attempted(&order, LONG).await;
        if let Some(event) = event {
            desk.outcome(&order, 1, event).await;
        }
        let before = desk.everything().await;
        let refused = refusal(desk.books.payout_attempt(&held(&order), LONG, LONG).await);
        assert_eq!(refused.kind, RefusalKind::InDoubt, "{outcome:?}");
        assert_eq!(
            (&refused.detail["attempt"], &refused.detail["outcome"]),
            (&Value::from(1), &Value::from(outcome.name()))
        );
        assert_eq!(desk.everything().await, before, "{outcome:?}");
    }
}

#[tokio::test]
async fn another_send_is_allowed_once_the_first_is_void() {
    let mut desk = Desk::open().await;
    for event in [AttemptEvent::Vanish, AttemptEvent::NotSend] {
        let order = order(event.name(), "0.1");
        desk.attempted(&order, SHORT).await;
        if event == AttemptEvent::Vanish {
            let now = desk.past_every_attempt().await;
            assert_eq!(desk.books.payout_attempts_vanish(&held(&order), now).await.unwrap(), 0);
        } else {
            desk.outcome(&order, 1, event).await;
        }
        let permit = desk.books.payout_attempt(&held(&order), LONG, LONG).await.unwrap().granted().unwrap();
        assert_eq!(permit.attempt, 2, "{event:?}");
        assert_eq!(permit.client_id, desk.standing(&order).await.receipt.client_id, "{event:?}");
    }
    desk.assert_sound().await;
}

#[tokio::test]
async fn what_the_venue_has_refused_is_never_sent_again() {
    let mut desk = Desk::open().await;
    let order = order("r", "0.1");
    desk.unsent(&order).await;
    desk.books.payout_attempt(&held(&order), LONG, LONG).await.unwrap();
    desk.outcome(&order, 2, AttemptEvent::Reject).await;
    let before = desk.everything().await;
    let again = desk.books.payout_attempt(&held(&order), LONG, LONG).await;
    assert_refused(again, RefusalKind::Rejected, "reason", "said so");
    assert_eq!(desk.everything().await, before);
    assert!(desk.books.payout_return(&held(&order), "rejected", None).await.unwrap().applied);
}

#[tokio::test]
async fn a_lookup_that_began_before_the_attempts_time_was_over_proves_nothing() {
    let mut desk = Desk::open().await;
    let order = order("r", "0.5");
    desk.attempted(&order, SHORT).await;
    desk.past_every_attempt().await;
    let void_after = desk.books.payout_attempts(&order.payout_id).await.unwrap()[0].void_after_ms;
    // The time is over by now; what counts is when the lookup began.
    assert_eq!(desk.books.payout_attempts_vanish(&held(&order), void_after).await.unwrap(), 1);
    assert_eq!(desk.books.payout_attempts(&order.payout_id).await.unwrap()[0].state, AttemptState::Pending);
    assert_eq!(desk.books.payout_attempts_vanish(&held(&order), void_after + 1).await.unwrap(), 0);
    assert_eq!(desk.books.payout_attempts(&order.payout_id).await.unwrap()[0].state, AttemptState::Absent);
}

#[tokio::test]
async fn an_empty_lookup_takes_nothing_from_an_accepted_attempt() {
    let mut desk = Desk::open().await;
    let order = order("r", "0.5");
    desk.attempted(&order, SHORT).await;
    desk.outcome(&order, 1, AttemptEvent::Accept).await;
    let now = desk.past_every_attempt().await;
    assert_eq!(desk.books.payout_attempts_vanish(&held(&order), now).await.unwrap(), 1);
    assert_eq!(refusal(desk.books.payout_return(&held(&order), "gone", None).await).kind, RefusalKind::InDoubt);
}

#[tokio::test]
async fn nobody_declares_an_attempt_absent_without_a_lookup() {
    let mut desk = Desk::open().await;
    let order = order("r", "0.5");
    desk.attempted(&order, LONG).await;
    let before = desk.everything().await;
    let claim = desk.books.payout_attempt_outcome(&held(&order), 1, AttemptEvent::Vanish, "I say so", None).await;
    assert_refused(claim, RefusalKind::NotAllowed, "event", "vanish");
    assert_eq!(desk.everything().await, before);
}

#[tokio::test]
async fn an_acceptance_after_the_proof_of_absence_is_a_critical_finding_with_its_evidence() {
    let mut desk = Desk::open().await;
    let order = order("r", "0.5");
    desk.unsent(&order).await;
    desk.outcome(&order, 1, AttemptEvent::Accept).await;
    let sql =
        "SELECT severity || ' ' || (evidence ->> 'venue_reference') || ' ' || (evidence ->> 'outcome') FROM findings";
    assert_eq!(desk.texts(sql).await, ["critical w-1 not_sent"]);
}

#[tokio::test]
async fn the_outcome_of_an_attempt_that_was_never_recorded_is_not_found() {
    let desk = Desk::open().await;
    let order = order("r", "0.5");
    let none = desk.books.payout_attempt_outcome(&held(&order), 1, AttemptEvent::Accept, "", None).await;
    assert_refused(none, RefusalKind::NotFound, "subject", "refund/r");
    desk.books.payout_open(&order).await.unwrap();
    let none = desk.books.payout_attempt_outcome(&held(&order), 1, AttemptEvent::Accept, "", None).await;
    assert_refused(none, RefusalKind::NotFound, "subject", "refund/r");
}
