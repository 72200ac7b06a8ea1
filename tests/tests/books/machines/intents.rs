//! Intents.

use backstop_domain::{
    RefusalKind,
    machine::{IntentEvent, IntentState},
};

use super::{Answer, judged};
use crate::{
    desk::{Desk, HOLDER},
    stock::{cancel_intent, place_intent_of},
};

/// What an event that the table does not allow is answered with. Undoing an opening ends what was opened.
fn documented(state: IntentState, event: IntentEvent) -> Answer {
    use IntentEvent as E;
    use IntentState as S;
    match (state, event) {
        (S::Absent, _) => Answer::Refused(RefusalKind::NotFound),
        (S::Abandoned, E::Abandon) => Answer::Repeated,
        (S::Abandoned, _) => Answer::Refused(RefusalKind::Abandoned),
        (S::Waiting, E::Finish) => Answer::Refused(RefusalKind::NotAllowed),
        (S::Waiting | S::Claimed, E::Abandon) => Answer::Applied("failed".into()),
        _ => Answer::Repeated,
    }
}

/// Each intent cancels an order of a strategy of its own, of the same name.
async fn fire(desk: &mut Desk, name: &str, event: IntentEvent) -> Answer {
    let (books, intent) = (desk.books.clone(), cancel_intent(name, &format!("{name}-order"), name));
    let call = async move {
        match event {
            IntentEvent::Open => books.intent_open(&intent, HOLDER).await.map(drop),
            IntentEvent::Abandon => books.intent_abandon(&intent, HOLDER, false, "undone").await.map(drop),
            IntentEvent::Claim => books.intent_claim(name, HOLDER).await.map(drop),
            IntentEvent::Cancel => books.intent_cancel(name, HOLDER, "not wanted").await.map(drop),
            IntentEvent::Fail => books.intent_fail(name, HOLDER, "not possible").await.map(drop),
            IntentEvent::Finish => books.intent_finish(name, HOLDER, None, None).await.map(drop),
        }
    };
    judged(desk, "intents", "intent_id", name, call).await
}

#[tokio::test]
async fn an_intent_does_on_every_event_in_every_state_what_its_table_says() {
    use IntentEvent as E;
    use IntentState as S;
    let mut desk = Desk::open().await;
    for state in S::ALL {
        for event in E::ALL {
            let case = format!("{}-{}", state.name(), event.name());
            desk.start(&case).await.unwrap();
            let order = format!("{case}-order");
            desk.books.intent_open(&place_intent_of(&order, &case), HOLDER).await.unwrap();
            desk.books.intent_cancel(&order, HOLDER, "not wanted").await.unwrap();
            let steps: &[E] = match state {
                S::Absent => &[],
                S::Waiting => &[E::Open],
                S::Claimed => &[E::Open, E::Claim],
                S::Done => &[E::Open, E::Claim, E::Finish],
                S::Failed => &[E::Open, E::Fail],
                S::Cancelled => &[E::Open, E::Claim, E::Cancel],
                S::Abandoned => &[E::Abandon],
            };
            for step in steps {
                assert!(matches!(fire(&mut desk, &case, *step).await, Answer::Applied(_)), "{case}");
            }
            let next = state.on(*event).map(|next| Answer::Applied(next.name().into()));
            let expected = next.unwrap_or_else(|| documented(*state, *event));
            assert_eq!(fire(&mut desk, &case, *event).await, expected, "{case}");
            let _ = desk.books.intent_fail(&case, HOLDER, "the case is over").await;
        }
    }
    desk.assert_sound().await;
}
