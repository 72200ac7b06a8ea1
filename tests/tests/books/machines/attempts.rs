//! Attempts of payouts.

use backstop_domain::{
    machine::{AttemptEvent, AttemptState},
    payout::PayoutOrder,
};

use crate::desk::{Desk, SHORT, held, order};

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
