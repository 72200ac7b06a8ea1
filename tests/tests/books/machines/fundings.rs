//! Orders that wait for their payments, and the parts of their deposits.

use backstop_domain::{
    PayoutId, RefusalKind,
    machine::{FundingEvent, FundingState, PartEvent, PartState},
    payout::PayoutOrder,
};

use super::state_of;
use crate::{
    desk::{Desk, HOLDER, id, order, refusal},
    stock::fund,
};

async fn fire(desk: &Desk, order_id: &str, event: FundingEvent) -> Option<RefusalKind> {
    let refused = match event {
        FundingEvent::Open => desk.books.funding_open(&fund(order_id), HOLDER).await.err(),
        FundingEvent::Expire => desk.books.funding_expire(order_id, HOLDER, "too late").await.err(),
        FundingEvent::Release => desk.books.funding_release(order_id, "olga", "to trade").await.err(),
        FundingEvent::Complete => {
            for (amount, asset) in [("0.5", "BTC"), ("20000", "USDT")] {
                desk.observe(&format!("{order_id}-{asset}-{}", uuid::Uuid::now_v7()), amount, asset, order_id).await;
            }
            None
        }
    };
    refused.map(|error| refusal::<()>(Err(error)).kind)
}

#[tokio::test]
async fn an_order_that_waits_does_on_every_event_in_every_state_what_its_table_says() {
    use FundingEvent as E;
    use FundingState as S;
    let mut desk = Desk::open().await;
    for state in S::ALL {
        for event in E::ALL {
            let case = format!("{}-{}", state.name(), event.name());
            let steps: &[E] = match state {
                S::Absent => &[],
                S::Awaiting => &[E::Open],
                S::Funded => &[E::Open, E::Complete],
                S::Released => &[E::Open, E::Complete, E::Release],
                S::Expired => &[E::Open, E::Expire],
            };
            for step in steps {
                assert_eq!(fire(&desk, &case, *step).await, None, "{case}");
            }
            let refused = fire(&desk, &case, *event).await;
            let expected = match (state, event) {
                (S::Absent, E::Expire | E::Release) => Some(RefusalKind::NotFound),
                (S::Awaiting | S::Expired, E::Release) => Some(RefusalKind::NotAllowed),
                _ => None,
            };
            assert_eq!(refused, expected, "{case}");
            let is = state_of(&mut desk, "fundings", "order_id", &case).await;
            assert_eq!(is, state.on(*event).unwrap_or(*state).name(), "{case}");
        }
    }
    desk.assert_sound().await;
}

/// Reserve: the deposit is seen. Refund: the order ends, and the deposit is seen. Keep: the refunds of the deposit's parts
/// are ended before. Each is done whatever has been done before.
async fn fire_part(desk: &Desk, case: &str, event: PartEvent) {
    if event == PartEvent::Keep {
        for part in ["order", "refund"] {
            let name = PayoutId::refund(&id(&format!("deposit/binance/{case}/{part}")));
            let refund = PayoutOrder { payout_id: name, ..order("other", "0.5") };
            let _ = desk.books.payout_abandon(&refund, "cancelled").await;
        }
    }
    if event != PartEvent::Reserve {
        desk.books.funding_expire(case, HOLDER, "too late").await.unwrap();
    }
    desk.observe(case, "0.5", "BTC", case).await;
}

#[tokio::test]
async fn a_part_of_a_deposit_does_on_every_event_in_every_state_what_its_table_says() {
    use PartEvent as E;
    use PartState as S;
    let mut desk = Desk::open().await;
    for state in S::ALL {
        for event in E::ALL {
            let case = format!("{}-{}", state.name(), event.name());
            desk.books.funding_open(&fund(&case), HOLDER).await.unwrap();
            let steps: &[E] = match state {
                S::Absent => &[],
                S::Reserved => &[E::Reserve],
                S::Refunding => &[E::Reserve, E::Refund],
                S::Kept => &[E::Reserve, E::Keep],
            };
            for step in steps.iter().chain([event]) {
                fire_part(&desk, &case, *step).await;
            }
            let is = state_of(&mut desk, "funding_parts", "deposit_id", &case).await;
            assert_eq!(is, state.on(*event).unwrap_or(*state).name(), "{case}");
        }
    }
    desk.assert_sound().await;
}
