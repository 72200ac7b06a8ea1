//! Goal: every state machine does, for every state and every event, what its table says, and nothing else.

use std::collections::BTreeSet;

use backstop_activities::books::BooksError;
use backstop_domain::{
    RefusalKind,
    machine::{
        AttemptEvent, AttemptState, PayoutEvent, PayoutState, ReservationEvent, ReservationState, all_transitions,
    },
    payout::PayoutOrder,
};

use crate::desk::{Desk, LONG, SHORT, held, order, paid, refusal};

#[derive(Debug, PartialEq)]
enum Answer {
    /// This call moved it there.
    Applied(String),
    /// It had been done before; nothing changed.
    Repeated,
    /// Nothing moved, but a critical finding was opened.
    Noted,
    /// Refused; nothing changed.
    Refused(RefusalKind),
}

fn answered(result: Result<(bool, String), BooksError>) -> Answer {
    match result {
        Ok((true, state)) => Answer::Applied(state),
        Ok((false, _)) => Answer::Repeated,
        Err(_) => Answer::Refused(refusal(result).kind),
    }
}

#[tokio::test]
async fn the_tables_of_the_domain_and_of_the_books_are_the_same() {
    let mut desk = Desk::open().await;
    let stored: Vec<(String, String, String, String)> =
        sqlx::query_as("SELECT machine, state, event, next FROM transitions").fetch_all(&mut desk.owner).await.unwrap();
    let stored: BTreeSet<_> =
        stored.iter().map(|(m, s, e, n)| (m.as_str(), s.as_str(), e.as_str(), n.as_str())).collect();
    assert_eq!(stored, all_transitions().into_iter().collect());
}

/// What the books document for an event that the payout's table does not allow.
fn documented(state: PayoutState, event: PayoutEvent) -> Answer {
    use PayoutEvent as E;
    use PayoutState as S;
    match (state, event) {
        (S::Absent, _) => Answer::Refused(RefusalKind::NotFound),
        (S::Abandoned, E::Open | E::Attempt) => Answer::Refused(RefusalKind::Abandoned),
        (S::Attempted | S::NeedsOperator | S::Settled | S::Returned, E::Abandon) => {
            Answer::Refused(RefusalKind::TooLate)
        }
        (S::Returned | S::Abandoned, E::Settle) => Answer::Noted,
        (_, E::Open)
        | (S::Abandoned, E::Abandon)
        | (S::Settled, E::Settle)
        | (S::Returned, E::Return)
        | (S::NeedsOperator | S::Settled | S::Returned, E::Escalate) => Answer::Repeated,
        _ => Answer::Refused(RefusalKind::NotAllowed),
    }
}

async fn fire(desk: &Desk, order: &PayoutOrder, event: PayoutEvent) -> Answer {
    let payout = held(order);
    let standing = match event {
        PayoutEvent::Open => desk.books.payout_open(order).await,
        PayoutEvent::Abandon => desk.books.payout_abandon(order, "cancelled").await,
        PayoutEvent::Settle => {
            desk.books.payout_settle(&payout, &paid("w-1", order.amount.to_string().as_str(), "0")).await
        }
        PayoutEvent::Return => desk.books.payout_return(&payout, "rejected", None).await,
        PayoutEvent::Escalate => desk.books.payout_escalate(&payout, "no answer").await,
        event if !of_refunds(event) => unreachable!("{event:?} is of withdrawals"),
        _ => match desk.books.payout_attempt(&payout, SHORT, LONG).await {
            Ok(_) => return Answer::Applied(desk.standing(order).await.receipt.state.name().to_owned()),
            Err(error) => Err(error),
        },
    };
    answered(standing.map(|standing| (standing.applied, standing.receipt.state.name().to_owned())))
}

/// Brings a payout into a state by allowed steps. Its attempt was not sent, so that none is live.
async fn bring(desk: &Desk, order: &PayoutOrder, state: PayoutState) {
    match state {
        PayoutState::Absent => {}
        PayoutState::Opened => assert_eq!(fire(desk, order, PayoutEvent::Open).await, Answer::Applied("opened".into())),
        PayoutState::Abandoned => {
            fire(desk, order, PayoutEvent::Open).await;
            fire(desk, order, PayoutEvent::Abandon).await;
        }
        PayoutState::Attempted => desk.unsent(order).await,
        PayoutState::NeedsOperator | PayoutState::Settled | PayoutState::Returned => {
            desk.unsent(order).await;
            let event = match state {
                PayoutState::NeedsOperator => PayoutEvent::Escalate,
                PayoutState::Settled => PayoutEvent::Settle,
                _ => PayoutEvent::Return,
            };
            assert_eq!(fire(desk, order, event).await, Answer::Applied(state.name().into()));
        }
        state => unreachable!("{state:?} is of withdrawals"),
    }
}

fn of_refunds(event: PayoutEvent) -> bool {
    use PayoutEvent as E;
    !matches!(event, E::Request | E::RequestApproval | E::Approve | E::Reject | E::Expire)
}

#[tokio::test]
async fn a_payout_does_on_every_event_in_every_state_what_its_table_says() {
    let mut desk = Desk::open().await;
    use PayoutState as S;
    let of_withdrawals = [S::AwaitingApproval, S::Queued, S::Rejected, S::Expired];
    for state in PayoutState::ALL.iter().filter(|state| !of_withdrawals.contains(state)) {
        for event in PayoutEvent::ALL.iter().filter(|event| of_refunds(**event)) {
            let case = format!("{}-{}", state.name(), event.name());
            let order = order(&case, "0.01");
            bring(&desk, &order, *state).await;
            let before = desk.everything().await;
            let answer = fire(&desk, &order, *event).await;
            let mut after = desk.everything().await;
            let expected =
                state.on(*event).map_or_else(|| documented(*state, *event), |next| Answer::Applied(next.name().into()));
            if let Answer::Noted = expected {
                assert_eq!(answer, Answer::Repeated, "{case}");
                assert!(desk.findings().await.contains(&format!("payout_paid_after_return refund/{case}")), "{case}");
                after["findings"] = before["findings"].clone();
            } else {
                assert_eq!(answer, expected, "{case}");
            }
            assert_eq!(after != before, matches!(answer, Answer::Applied(_)), "{case}");
        }
    }
    desk.assert_sound().await;
}

async fn bring_attempt(desk: &mut Desk, order: &PayoutOrder, state: AttemptState) {
    desk.attempted(order, SHORT).await;
    match state {
        AttemptState::Pending => {}
        AttemptState::Accepted => desk.outcome(order, 1, AttemptEvent::Accept).await,
        AttemptState::Rejected => desk.outcome(order, 1, AttemptEvent::Reject).await,
        AttemptState::NotSent => desk.outcome(order, 1, AttemptEvent::NotSend).await,
        AttemptState::Unknown => desk.outcome(order, 1, AttemptEvent::Lose).await,
        AttemptState::Absent => vanish(desk, order).await,
    }
}

async fn vanish(desk: &mut Desk, order: &PayoutOrder) {
    let now = desk.past_every_attempt().await;
    desk.books.payout_attempts_vanish(&held(order), now).await.unwrap();
}

#[tokio::test]
async fn an_attempt_does_on_every_event_in_every_state_what_its_table_says() {
    let mut desk = Desk::open().await;
    for state in AttemptState::ALL {
        for event in AttemptEvent::ALL {
            let case = format!("{}-{}", state.name(), event.name());
            let order = order(&case, "0.01");
            bring_attempt(&mut desk, &order, *state).await;
            let mut before = desk.everything().await;
            match event {
                AttemptEvent::Vanish => vanish(&mut desk, &order).await,
                _ => desk.outcome(&order, 1, *event).await,
            }
            let rows = desk.books.payout_attempts(&order.payout_id).await.unwrap();
            assert_eq!(rows[0].state, state.on(*event).unwrap_or(*state), "{case}");
            let after = desk.everything().await;
            let finding = format!("payout_accepted_after_void refund/{case}");
            let late = *event == AttemptEvent::Accept && !state.is_live();
            assert_eq!(desk.findings().await.contains(&finding), late, "{case}");
            before["findings"] = after["findings"].clone();
            assert_eq!(after != before, state.on(*event).is_some(), "{case}");
        }
    }
    desk.assert_sound().await;
}

async fn fire_reservation(desk: &Desk, name: &str, event: ReservationEvent) -> Answer {
    let amount = "0.1".parse().unwrap();
    let result = match event {
        ReservationEvent::Open => desk.books.reservation_open(name, "w", "alice", "BTC", amount).await,
        ReservationEvent::Release => desk.books.reservation_release(name, "w", "alice", "BTC", amount).await,
    };
    let sql = "SELECT state FROM reservations WHERE reservation_id = $1";
    let state = sqlx::query_scalar(sql).bind(name).fetch_optional(desk.books.pool()).await.unwrap();
    answered(result.map(|applied| (applied, state.unwrap())))
}

#[tokio::test]
async fn a_reservation_does_on_every_event_in_every_state_what_its_table_says() {
    use ReservationEvent::{Open, Release};
    let mut desk = Desk::open().await;
    for state in ReservationState::ALL {
        for event in ReservationEvent::ALL {
            let case = format!("{}-{}", state.name(), event.name());
            let steps: &[ReservationEvent] = match state {
                ReservationState::Absent => &[],
                ReservationState::Open => &[Open],
                ReservationState::Released => &[Open, Release],
                ReservationState::Abandoned => &[Release],
            };
            for step in steps {
                fire_reservation(&desk, &case, *step).await;
            }
            let before = desk.everything().await;
            let answer = fire_reservation(&desk, &case, *event).await;
            let expected = match (state.on(*event), state, event) {
                (Some(next), ..) => Answer::Applied(next.name().into()),
                (None, ReservationState::Abandoned, Open) => Answer::Refused(RefusalKind::Abandoned),
                _ => Answer::Repeated,
            };
            assert_eq!(answer, expected, "{case}");
            assert_eq!(desk.everything().await != before, matches!(answer, Answer::Applied(_)), "{case}");
        }
    }
    desk.assert_sound().await;
}
