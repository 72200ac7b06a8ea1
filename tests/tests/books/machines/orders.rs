//! Strategies and their orders.

use backstop_activities::books::{Books, PlacedOrder};
use backstop_domain::{
    RefusalKind,
    machine::{OrderEvent, OrderState, StrategyEvent, StrategyState},
};

use super::{Answer, judged};
use crate::{
    desk::{Desk, HOLDER, LONG, SHORT},
    stock::sell,
};

async fn fire_strategy(desk: &mut Desk, key: &str, event: StrategyEvent) -> Answer {
    let books = desk.books.clone();
    let call = async move {
        match event {
            StrategyEvent::Start => {
                let sql = "SELECT strategy_start($1, 'alice', 'binance', 'BTC', 'USDT', '{}', 'olga')";
                sqlx::query(sql).bind(key).execute(books.pool()).await.map(drop).map_err(Into::into)
            }
            StrategyEvent::Stop => books.strategy_stop(key, "olga", "enough").await.map(drop),
        }
    };
    judged(desk, "strategies", "strategy_key", key, call).await
}

#[tokio::test]
async fn a_strategy_does_on_every_event_in_every_state_what_its_table_says() {
    use StrategyEvent::{Start, Stop};
    let mut desk = Desk::open().await;
    for state in StrategyState::ALL {
        for event in StrategyEvent::ALL {
            let case = format!("{}-{}", state.name(), event.name());
            let steps: &[StrategyEvent] = match state {
                StrategyState::Absent => &[],
                StrategyState::Running => &[Start],
                StrategyState::Stopped => &[Start, Stop],
            };
            for step in steps {
                fire_strategy(&mut desk, &case, *step).await;
            }
            let expected = match (state.on(*event), state) {
                (Some(next), _) => Answer::Applied(next.name().into()),
                (None, StrategyState::Absent) => Answer::Refused(RefusalKind::NotFound),
                _ => Answer::Repeated,
            };
            assert_eq!(fire_strategy(&mut desk, &case, *event).await, expected, "{case}");
        }
    }
    desk.assert_sound().await;
}

/// What an event that the table does not allow is answered with.
fn documented(state: OrderState, event: OrderEvent) -> Answer {
    use OrderEvent as E;
    use OrderState as S;
    match (state, event) {
        (S::Absent, _) => Answer::Refused(RefusalKind::NotFound),
        (S::Abandoned, E::Open | E::Attempt) => Answer::Refused(RefusalKind::Abandoned),
        (S::Attempted | S::Placed, E::Attempt) => Answer::Refused(RefusalKind::InDoubt),
        (S::Attempted | S::Placed | S::Void | S::Ended, E::Abandon) => Answer::Refused(RefusalKind::TooLate),
        (S::Void | S::Ended, E::Attempt) => Answer::Refused(RefusalKind::NotAllowed),
        (S::Opened | S::Void | S::Abandoned, E::Place | E::End) | (S::Placed | S::Ended, E::NotSend) => Answer::Noted,
        _ => Answer::Repeated,
    }
}

/// When the order was signed, if it was.
async fn signed_at_ms(books: &Books, order_id: &str) -> Option<i64> {
    let sql = "SELECT (extract(epoch FROM signed_at) * 1000)::bigint FROM orders WHERE order_id = $1";
    sqlx::query_scalar(sql).bind(order_id).fetch_optional(books.pool()).await.unwrap().flatten()
}

async fn fire(desk: &mut Desk, order: &PlacedOrder<'_>, event: OrderEvent) -> Answer {
    let (books, id) = (desk.books.clone(), order.order_id);
    let call = async move {
        match event {
            OrderEvent::Open => books.order_open(order).await.map(drop),
            OrderEvent::Abandon => books.order_abandon(order, "cancelled").await.map(drop),
            OrderEvent::Attempt => books.order_attempt(id, HOLDER, SHORT, LONG).await.map(drop),
            OrderEvent::NotSend => {
                let signed_at_ms = signed_at_ms(&books, id).await.unwrap_or_default();
                books.order_not_sent(id, HOLDER, signed_at_ms, "connection refused").await.map(drop)
            }
            OrderEvent::Place => books.order_place(id, "v-1").await.map(drop),
            OrderEvent::Void => books.order_void(id, 0, true, "refused").await.map(drop),
            OrderEvent::End => books.order_end(id, "0", "Cancelled").await.map(drop),
        }
    };
    judged(desk, "orders", "order_id", id, call).await
}

#[tokio::test]
async fn an_order_does_on_every_event_in_every_state_what_its_table_says() {
    use OrderEvent as E;
    use OrderState as S;
    let mut desk = Desk::trading().await;
    desk.adjust("rich", "alice", "100").await.unwrap();
    for state in S::ALL {
        for event in E::ALL {
            let case = format!("{}-{}", state.name(), event.name());
            let order = sell(&case);
            let steps: &[E] = match state {
                S::Absent => &[],
                S::Opened => &[E::Open],
                S::Attempted => &[E::Open, E::Attempt],
                S::Placed => &[E::Open, E::Attempt, E::Place],
                S::Void => &[E::Open, E::Attempt, E::Void],
                S::Ended => &[E::Open, E::Attempt, E::End],
                S::Abandoned => &[E::Open, E::Abandon],
            };
            for step in steps {
                assert!(matches!(fire(&mut desk, &order, *step).await, Answer::Applied(_)), "{case}");
            }
            let next = state.on(*event).map(|next| Answer::Applied(next.name().into()));
            let expected = next.unwrap_or_else(|| documented(*state, *event));
            assert_eq!(fire(&mut desk, &order, *event).await, expected, "{case}");
        }
    }
    desk.assert_sound().await;
}
