//! Reservations.

use backstop_domain::{
    RefusalKind,
    machine::{ReservationEvent, ReservationState},
};

use super::{Answer, judged};
use crate::desk::Desk;

async fn fire(desk: &mut Desk, name: &str, event: ReservationEvent) -> Answer {
    let (books, amount) = (desk.books.clone(), "0.1".parse().unwrap());
    let call = async move {
        match event {
            ReservationEvent::Open => books.reservation_open(name, "w", "alice", "BTC", amount).await.map(drop),
            ReservationEvent::Release => books.reservation_release(name, "w", "alice", "BTC", amount).await.map(drop),
        }
    };
    judged(desk, "reservations", "reservation_id", name, call).await
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
                fire(&mut desk, &case, *step).await;
            }
            let expected = match (state.on(*event), state, event) {
                (Some(next), ..) => Answer::Applied(next.name().into()),
                (None, ReservationState::Abandoned, Open) => Answer::Refused(RefusalKind::Abandoned),
                _ => Answer::Repeated,
            };
            assert_eq!(fire(&mut desk, &case, *event).await, expected, "{case}");
        }
    }
    desk.assert_sound().await;
}
