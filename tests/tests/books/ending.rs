//! Goal: a payout ends once, by the venue's record or an operator's word, and whatever contradicts that is found.

use backstop_domain::{
    RefusalKind, Verdict,
    machine::{AttemptEvent, PayoutState},
};

use crate::desk::{ASKED_NOW, Desk, LONG, SHORT, held, order, paid, refusal, word};

#[tokio::test]
async fn a_settled_payout_went_to_the_world_and_to_fees_exactly_once() {
    let mut desk = Desk::open().await;
    let order = order("r", "0.5");
    desk.attempted(&order, LONG).await;
    let first = desk.settle(&order, &paid("w-1", "0.499", "0.001")).await;
    let before = desk.everything().await;
    let second = desk.settle(&order, &paid("w-1", "0.499", "0.001")).await;
    assert_eq!((first.applied, second.applied, first.receipt.state), (true, false, PayoutState::Settled));
    assert_eq!(first.receipt.network_fee.as_deref(), Some("0.001"));
    assert_eq!(first.receipt.tx_id.as_deref(), Some("tx-w-1"));
    assert_eq!(desk.everything().await, before);
    let sql = "SELECT counter || ' ' || trim_scale(d_counter) FROM entries WHERE key = 'refund/r/settle' ORDER BY line";
    assert_eq!(desk.texts(sql).await, ["world 0.499", "fees 0.001"]);
    assert_eq!(desk.available("alice").await, "1.5");
    desk.assert_sound().await;
}

#[tokio::test]
async fn a_second_record_for_a_settled_payout_moves_nothing_and_is_found() {
    let mut desk = Desk::open().await;
    let order = order("r", "0.5");
    desk.attempted(&order, LONG).await;
    desk.settle(&order, &paid("w-1", "0.5", "0")).await;
    let other = desk.books.payout_settle(&held(&order), &paid("w-2", "0.5", "0")).await.unwrap();
    assert_eq!((other.applied, other.receipt.venue_reference.as_deref()), (false, Some("w-1")));
    assert_eq!(desk.findings().await, ["payout_paid_twice refund/r"]);
    desk.assert_sound().await;
}

#[tokio::test]
async fn a_failed_record_does_not_speak_for_an_attempt_accepted_under_another_id() {
    let mut desk = Desk::open().await;
    let order = order("r", "0.5");
    desk.attempted(&order, LONG).await;
    let accept = AttemptEvent::Accept;
    desk.books.payout_attempt_outcome(&held(&order), 1, accept, "", Some("w-2")).await.unwrap();
    let other = desk.books.payout_return(&held(&order), "failed", Some("w-1")).await;
    assert_eq!(refusal(other).kind, RefusalKind::InDoubt);
    assert!(desk.books.payout_return(&held(&order), "failed", Some("w-2")).await.unwrap().applied);
    desk.assert_sound().await;
}

#[tokio::test]
async fn an_acceptance_after_the_money_came_back_is_found() {
    let mut desk = Desk::open().await;
    let order = order("r", "0.5");
    desk.attempted(&order, LONG).await;
    desk.books.payout_return(&held(&order), "failed", Some("w-1")).await.unwrap();
    let accept = AttemptEvent::Accept;
    desk.books.payout_attempt_outcome(&held(&order), 1, accept, "", Some("w-2")).await.unwrap();
    assert_eq!(desk.findings().await, ["payout_accepted_after_return refund/r"]);
}

#[tokio::test]
async fn a_record_whose_amount_differs_is_booked_and_found() {
    let mut desk = Desk::open().await;
    for (name, received, fee) in
        [("less", "0.1", "0"), ("more", "0.3", "0.01"), ("fee", "0", "0.4"), ("odd", "0.4", "-0.2")]
    {
        let order = order(name, "0.2");
        desk.attempted(&order, LONG).await;
        assert!(desk.settle(&order, &paid(name, received, fee)).await.applied, "{name}");
        let finding = format!("payout_amount_differs refund/{name}");
        assert_eq!(desk.findings().await.last(), Some(&finding), "{name}");
    }
    desk.assert_sound().await;
}

#[tokio::test]
async fn a_payment_after_the_return_is_found_and_moves_nothing() {
    let mut desk = Desk::open().await;
    let returned = order("returned", "0.5");
    desk.unsent(&returned).await;
    desk.books.payout_return(&held(&returned), "rejected", None).await.unwrap();
    let abandoned = order("abandoned", "0.5");
    desk.books.payout_abandon(&abandoned, "cancelled").await.unwrap();
    for order in [returned, abandoned] {
        let mut before = desk.everything().await;
        let answer = desk.settle(&order, &paid("w-1", "0.5", "0")).await;
        assert!(!answer.applied && answer.receipt.state != PayoutState::Settled);
        let after = desk.everything().await;
        assert_ne!(after["findings"], before["findings"]);
        before["findings"] = after["findings"].clone();
        assert_eq!(after, before);
    }
    let sql = "SELECT kind || ' ' || severity || ' ' || subject FROM findings ORDER BY id";
    let expected = ["returned", "abandoned"].map(|name| format!("payout_paid_after_return critical refund/{name}"));
    assert_eq!(desk.texts(sql).await, expected);
}

#[tokio::test]
async fn no_return_while_an_attempt_is_live_unless_the_venue_says_that_it_failed() {
    let mut desk = Desk::open().await;
    for (name, event) in
        [("pending", None), ("unknown", Some(AttemptEvent::Lose)), ("accepted", Some(AttemptEvent::Accept))]
    {
        let order = order(name, "0.5");
        desk.attempted(&order, LONG).await;
        if let Some(event) = event {
            desk.outcome(&order, 1, event).await;
        }
        let before = desk.everything().await;
        assert_eq!(
            refusal(desk.books.payout_return(&held(&order), "x", None).await).kind,
            RefusalKind::InDoubt,
            "{name}"
        );
        assert_eq!(desk.everything().await, before, "{name}");
        let standing = desk.books.payout_return(&held(&order), "failed at the venue", Some("w-1")).await.unwrap();
        assert_eq!((standing.applied, standing.receipt.state), (true, PayoutState::Returned), "{name}");
        assert_eq!(standing.receipt.venue_reference.as_deref(), Some("w-1"), "{name}");
        assert!(!desk.books.payout_return(&held(&order), "x", None).await.unwrap().applied, "{name}");
    }
    assert_eq!(desk.available("alice").await, "2");
    desk.assert_sound().await;
}

#[tokio::test]
async fn a_call_for_an_operator_moves_nothing_and_opens_one_finding() {
    let mut desk = Desk::open().await;
    let order = order("r", "0.5");
    desk.attempted(&order, LONG).await;
    let standing = desk.books.payout_escalate(&held(&order), "no answer").await.unwrap();
    assert_eq!((standing.applied, standing.receipt.state), (true, PayoutState::NeedsOperator));
    assert!(!desk.books.payout_escalate(&held(&order), "still none").await.unwrap().applied);
    assert_eq!(desk.findings().await, ["payout_unconfirmed refund/r"]);
    assert_eq!(desk.available("alice").await, "1.5");
    desk.assert_sound().await;
}

#[tokio::test]
async fn an_operators_word_waits_until_every_attempts_time_is_over() {
    let mut desk = Desk::open().await;
    let order = order("r", "0.5");
    desk.attempted(&order, LONG).await;
    desk.books.payout_escalate(&held(&order), "no answer").await.unwrap();
    let before = desk.everything().await;
    for verdict in [Verdict::Executed, Verdict::NotExecuted] {
        let refused = refusal(desk.books.payout_resolve(&held(&order), &word(verdict), ASKED_NOW).await);
        assert_eq!(refused.kind, RefusalKind::TooEarly, "{verdict:?}");
        assert!(refused.detail["until"].is_string(), "{refused:?}");
    }
    assert_eq!(desk.everything().await, before);
}

#[tokio::test]
async fn an_operators_word_waits_for_a_lookup_that_began_after_every_attempts_time() {
    let mut desk = Desk::open().await;
    let order = order("r", "0.5");
    desk.attempted(&order, SHORT).await;
    desk.books.payout_escalate(&held(&order), "no answer").await.unwrap();
    desk.past_every_attempt().await;
    let attempt = desk.books.payout_attempts(&order.payout_id).await.unwrap().remove(0);
    for too_early in [attempt.signed_at_ms, attempt.void_after_ms] {
        let refused = desk.books.payout_resolve(&held(&order), &word(Verdict::NotExecuted), too_early).await;
        assert_eq!(refusal(refused).kind, RefusalKind::TooEarly);
    }
    let begun = attempt.void_after_ms + 1;
    let taken = desk.books.payout_resolve(&held(&order), &word(Verdict::NotExecuted), begun).await.unwrap();
    assert_eq!(taken.receipt.state, PayoutState::Returned);
}

#[tokio::test]
async fn an_operators_word_is_not_taken_where_nobody_asked() {
    let mut desk = Desk::open().await;
    let (opened, attempted, settled) = (order("opened", "0.1"), order("attempted", "0.1"), order("settled", "0.1"));
    desk.books.payout_open(&opened).await.unwrap();
    desk.attempted(&attempted, SHORT).await;
    desk.attempted(&settled, SHORT).await;
    desk.settle(&settled, &paid("w-1", "0.1", "0")).await;
    desk.past_every_attempt().await;
    let before = desk.everything().await;
    for (order, verdict) in [
        (&opened, Verdict::Executed),
        (&opened, Verdict::NotExecuted),
        (&attempted, Verdict::Executed),
        (&attempted, Verdict::NotExecuted),
        (&settled, Verdict::NotExecuted),
    ] {
        let refused = refusal(desk.books.payout_resolve(&held(order), &word(verdict), ASKED_NOW).await);
        assert_eq!(refused.kind, RefusalKind::NotAllowed, "{} {verdict:?}", order.payout_id);
    }
    let none = desk.books.payout_resolve(&held(&order("none", "1")), &word(Verdict::Executed), ASKED_NOW).await;
    assert_eq!(refusal(none).kind, RefusalKind::NotFound);
    assert_eq!(desk.everything().await, before);
}

#[tokio::test]
async fn an_operators_word_ends_the_payout_once_and_is_on_the_record() {
    let mut desk = Desk::open().await;
    let cases =
        [("paid", Verdict::Executed, PayoutState::Settled), ("unpaid", Verdict::NotExecuted, PayoutState::Returned)];
    for (name, verdict, state) in cases {
        let order = order(name, "0.5");
        desk.attempted(&order, SHORT).await;
        desk.books.payout_escalate(&held(&order), "no answer").await.unwrap();
        desk.past_every_attempt().await;
        let first = desk.books.payout_resolve(&held(&order), &word(verdict), ASKED_NOW).await.unwrap();
        let second = desk.books.payout_resolve(&held(&order), &word(verdict), ASKED_NOW).await.unwrap();
        assert_eq!((first.applied, second.applied), (true, false), "{name}");
        assert_eq!((first.receipt.state, second.receipt.state), (state, state), "{name}");
    }
    let expected = ["resolve executed refund/paid ann ticket 7", "resolve not executed refund/unpaid ann ticket 7"];
    assert_eq!(desk.acts().await, expected);
    assert_eq!(desk.available("alice").await, "1.5");
    assert_eq!(desk.standing(&order("paid", "0.5")).await.receipt.network_fee.as_deref(), Some("0.001"));
    desk.assert_sound().await;
}
