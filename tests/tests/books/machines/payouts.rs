//! Payouts of both kinds.

use backstop_domain::{
    RefusalKind,
    machine::{AttemptEvent, PayoutEvent, PayoutState},
    payout::{PayoutKind, PayoutOrder},
};

use super::{Answer, judged};
use crate::{
    desk::{Desk, LONG, SHORT, order, paid},
    stock::{decision, withdrawal},
};

/// What an event that the table does not allow is answered with: it was done before, it can't be any more, or it is a
/// fact, and noted.
fn documented(kind: PayoutKind, state: PayoutState, event: PayoutEvent) -> Answer {
    use PayoutEvent as E;
    use PayoutState as S;
    match (state, event) {
        (S::Absent, E::Request | E::RequestApproval) => Answer::Refused(RefusalKind::InvalidInput),
        (S::Absent, _) => Answer::Refused(RefusalKind::NotFound),
        (S::Abandoned, E::Open | E::Attempt | E::Request | E::RequestApproval) => {
            Answer::Refused(RefusalKind::Abandoned)
        }
        (_, E::Open) if kind == PayoutKind::Refund => Answer::Repeated,
        (S::Attempted | S::NeedsOperator | S::Settled | S::Returned, E::Abandon) => {
            Answer::Refused(RefusalKind::TooLate)
        }
        (S::Returned | S::Abandoned | S::Rejected | S::Expired, E::Settle) => Answer::Noted,
        (_, E::Request | E::RequestApproval | E::Expire)
        | (S::Opened | S::Attempted | S::NeedsOperator | S::Settled | S::Returned, E::Open)
        | (S::Abandoned | S::Rejected | S::Expired, E::Abandon)
        | (S::Settled, E::Settle)
        | (S::Returned, E::Return)
        | (S::Rejected, E::Reject)
        | (S::NeedsOperator | S::Settled | S::Returned, E::Escalate) => Answer::Repeated,
        _ => Answer::Refused(RefusalKind::NotAllowed),
    }
}

/// What the table says for this kind: only refunds are opened out of nothing, and only withdrawals are requested.
fn allowed(kind: PayoutKind, state: PayoutState, event: PayoutEvent) -> Option<PayoutState> {
    let other = match (kind, event) {
        (PayoutKind::Refund, PayoutEvent::Request | PayoutEvent::RequestApproval) => true,
        (PayoutKind::Withdrawal, PayoutEvent::Open) => state == PayoutState::Absent,
        _ => false,
    };
    state.on(event).filter(|_| !other)
}

async fn fire(desk: &mut Desk, order: &PayoutOrder, event: PayoutEvent) -> Answer {
    let payout = order.as_ref();
    let (books, amount) = (desk.books.clone(), order.amount.to_string());
    let call = async move {
        match event {
            PayoutEvent::Open if order.kind == PayoutKind::Refund => books.payout_open(order).await.map(drop),
            PayoutEvent::Open => books.withdrawal_claim(&payout).await.map(drop),
            PayoutEvent::Request | PayoutEvent::RequestApproval => books.withdrawal_request(order).await.map(drop),
            PayoutEvent::Approve => books.withdrawal_decide(&payout, true, &decision("ann")).await.map(drop),
            PayoutEvent::Reject => books.withdrawal_decide(&payout, false, &decision("ann")).await.map(drop),
            PayoutEvent::Expire => books.withdrawal_expire(&payout).await.map(drop),
            PayoutEvent::Abandon => books.payout_abandon(order, "cancelled").await.map(drop),
            PayoutEvent::Settle => books.payout_settle(&payout, &paid("w-1", &amount, "0")).await.map(drop),
            PayoutEvent::Return => books.payout_return(&payout, "rejected", None).await.map(drop),
            PayoutEvent::Escalate => books.payout_escalate(&payout, "no answer").await.map(drop),
            PayoutEvent::Attempt => books.payout_attempt(&payout, SHORT, LONG).await.map(drop),
        }
    };
    judged(desk, "payouts", "payout_id", order.payout_id.as_str(), call).await
}

/// Brings a payout into a state by allowed steps. Its attempt was not sent, so that none is live.
async fn bring(desk: &mut Desk, order: &PayoutOrder, state: PayoutState) {
    use PayoutEvent as E;
    let opened: &[E] = match order.kind {
        PayoutKind::Refund => &[E::Open],
        PayoutKind::Withdrawal => &[E::Request, E::Open],
    };
    let (way, last): (&[E], Option<E>) = match state {
        PayoutState::Absent => (&[], None),
        PayoutState::AwaitingApproval => (&[E::RequestApproval], None),
        PayoutState::Queued => (&[E::Request], None),
        PayoutState::Rejected => (&[E::RequestApproval], Some(E::Reject)),
        PayoutState::Expired => (&[E::RequestApproval], Some(E::Expire)),
        PayoutState::Opened => (opened, None),
        PayoutState::Abandoned => (opened, Some(E::Abandon)),
        PayoutState::Attempted => (opened, Some(E::Attempt)),
        PayoutState::NeedsOperator => (opened, Some(E::Escalate)),
        PayoutState::Settled => (opened, Some(E::Settle)),
        PayoutState::Returned => (opened, Some(E::Return)),
    };
    for event in way {
        assert!(matches!(fire(desk, order, *event).await, Answer::Applied(_)), "{} {event:?}", order.payout_id);
    }
    if matches!(last, Some(E::Attempt | E::Escalate | E::Settle | E::Return)) {
        desk.books.payout_attempt(&order.as_ref(), SHORT, LONG).await.unwrap();
        desk.outcome(order, 1, AttemptEvent::NotSend).await;
    }
    if let Some(event) = last.filter(|event| *event != E::Attempt) {
        assert_eq!(fire(desk, order, event).await, Answer::Applied(state.name().into()), "{}", order.payout_id);
    }
}

/// The payout of a case, large where it needs an approval.
fn subject(kind: PayoutKind, state: PayoutState, event: PayoutEvent) -> PayoutOrder {
    use PayoutState as S;
    let case = format!("{}-{}", state.name(), event.name());
    let large = matches!(state, S::AwaitingApproval | S::Rejected | S::Expired)
        || state == S::Absent && event == PayoutEvent::RequestApproval;
    match kind {
        PayoutKind::Refund => order(&case, "0.01"),
        PayoutKind::Withdrawal => withdrawal(&case, if large { "0.5" } else { "0.01" }),
    }
}

async fn every_event_in_every_state(kind: PayoutKind) {
    use PayoutState as S;
    let mut desk = Desk::open().await;
    desk.adjust("rich", "alice", "100").await.unwrap();
    let of_withdrawals = [S::AwaitingApproval, S::Queued, S::Rejected, S::Expired];
    let states = S::ALL.iter().filter(|state| kind == PayoutKind::Withdrawal || !of_withdrawals.contains(state));
    for state in states {
        for event in PayoutEvent::ALL {
            let order = subject(kind, *state, *event);
            bring(&mut desk, &order, *state).await;
            let answer = fire(&mut desk, &order, *event).await;
            let next = allowed(kind, *state, *event);
            let expected = match next {
                Some(next) => Answer::Applied(next.name().into()),
                None => documented(kind, *state, *event),
            };
            assert_eq!(answer, expected, "{} {event:?}", order.payout_id);
        }
    }
    desk.assert_sound().await;
}

#[tokio::test]
async fn a_refund_does_on_every_event_in_every_state_what_its_table_says() {
    every_event_in_every_state(PayoutKind::Refund).await;
}

#[tokio::test]
async fn a_withdrawal_does_on_every_event_in_every_state_what_its_table_says() {
    every_event_in_every_state(PayoutKind::Withdrawal).await;
}
