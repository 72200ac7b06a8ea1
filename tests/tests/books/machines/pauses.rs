//! Pause and withdraw.

use backstop_domain::{
    RefusalKind,
    machine::{PauseEvent, PauseState},
};

use super::{Answer, judged};
use crate::{
    desk::{Desk, HOLDER},
    stock::pause,
};

/// What an event that the table does not allow is answered with. A blocked operation is at its end for who calls it so.
fn documented(state: PauseState, event: PauseEvent) -> Answer {
    match (state, event) {
        (PauseState::Absent, _) => Answer::Refused(RefusalKind::NotFound),
        (PauseState::Draining, PauseEvent::Complete | PauseEvent::Fail) => Answer::Refused(RefusalKind::NotAllowed),
        _ => Answer::Repeated,
    }
}

/// Each operation has a strategy of its own, of the same name, which is stopped.
async fn fire(desk: &mut Desk, name: &str, event: PauseEvent) -> Answer {
    let books = desk.books.clone();
    let call = async move {
        match event {
            PauseEvent::Open => books.pause_open(&pause(name, name), HOLDER).await.map(drop),
            PauseEvent::Drain => books.pause_drained(name, HOLDER).await.map(drop),
            event => books.pause_end(name, HOLDER, event.name(), "so it is").await.map(drop),
        }
    };
    judged(desk, "pauses", "operation_id", name, call).await
}

#[tokio::test]
async fn a_pause_does_on_every_event_in_every_state_what_its_table_says() {
    use PauseEvent as E;
    use PauseState as S;
    let mut desk = Desk::open().await;
    for state in S::ALL {
        for event in E::ALL {
            let case = format!("{}-{}", state.name(), event.name());
            desk.start(&case).await.unwrap();
            desk.stop(&case).await.unwrap();
            let steps: &[E] = match state {
                S::Absent => &[],
                S::Draining => &[E::Open],
                S::Blocked => &[E::Open, E::Block],
                S::Withdrawing => &[E::Open, E::Drain],
                S::Completed => &[E::Open, E::Drain, E::Complete],
                S::Failed => &[E::Open, E::Drain, E::Fail],
            };
            for step in steps {
                assert!(matches!(fire(&mut desk, &case, *step).await, Answer::Applied(_)), "{case}");
            }
            let next = state.on(*event).map(|next| Answer::Applied(next.name().into()));
            let expected = next.unwrap_or_else(|| documented(*state, *event));
            assert_eq!(fire(&mut desk, &case, *event).await, expected, "{case}");
        }
    }
    desk.assert_sound().await;
}
