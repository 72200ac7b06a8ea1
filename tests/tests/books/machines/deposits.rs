//! Deposits.

use backstop_domain::{
    RefusalKind,
    machine::{DepositEvent, DepositState},
};

use super::{Answer, judged};
use crate::desk::Desk;

async fn fire(desk: &mut Desk, name: &str, event: DepositEvent) -> Answer {
    let (books, amount) = (desk.books.clone(), "0.1".parse().unwrap());
    let mut owner = desk.database.owner().await;
    let call = async move {
        match event {
            DepositEvent::Credit => books.deposit_credit("binance", name, Some("alice"), "BTC", amount).await.map(drop),
            DepositEvent::Suspend => books.deposit_credit("binance", name, None, "BTC", amount).await.map(drop),
            DepositEvent::Claim => {
                let sql = "SELECT deposit_assign('binance', $1, 'alice', 'olga', 'ticket 4')";
                sqlx::query(sql).bind(name).execute(&mut owner).await.map(drop).map_err(Into::into)
            }
        }
    };
    judged(desk, "deposits", "deposit_id", name, call).await
}

#[tokio::test]
async fn a_deposit_does_on_every_event_in_every_state_what_its_table_says() {
    use DepositEvent as E;
    use DepositState as S;
    let mut desk = Desk::open().await;
    for state in S::ALL {
        for event in E::ALL {
            let case = format!("{}-{}", state.name(), event.name());
            let steps: &[E] = match state {
                S::Absent => &[],
                S::Credited => &[E::Credit],
                S::Suspended => &[E::Suspend],
                S::Claimed => &[E::Suspend, E::Claim],
            };
            for step in steps {
                fire(&mut desk, &case, *step).await;
            }
            let expected = match (state.on(*event), state, event) {
                (Some(next), ..) => Answer::Applied(next.name().into()),
                (None, S::Absent, E::Claim) => Answer::Refused(RefusalKind::NotFound),
                (None, S::Credited, E::Suspend) | (None, S::Suspended | S::Claimed, E::Credit) => {
                    Answer::Refused(RefusalKind::Conflict)
                }
                _ => Answer::Repeated,
            };
            assert_eq!(fire(&mut desk, &case, *event).await, expected, "{case}");
        }
    }
    desk.assert_sound().await;
}
