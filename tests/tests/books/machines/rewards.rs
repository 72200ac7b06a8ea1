//! Rewards.

use backstop_domain::{
    RefusalKind,
    machine::{RewardEvent, RewardState},
};

use super::{Answer, judged};
use crate::{
    desk::{Desk, HOLDER},
    rewards::reward,
};

async fn fire(desk: &mut Desk, name: &str, event: RewardEvent) -> Answer {
    let (books, request) = (desk.books.clone(), reward(name, "0.1", &[("alice", "1"), ("carol", "2")]));
    let call = async move {
        match event {
            RewardEvent::Distribute => books.reward_distribute(&request, HOLDER).await.map(drop),
            RewardEvent::Abandon => books.reward_abandon(&request, HOLDER, "cancelled").await.map(drop),
        }
    };
    judged(desk, "rewards", "reward_id", name, call).await
}

#[tokio::test]
async fn a_reward_does_on_every_event_in_every_state_what_its_table_says() {
    use RewardEvent as E;
    use RewardState as S;
    let mut desk = Desk::open().await;
    desk.fill_pool("d-1", "1").await;
    for state in S::ALL {
        for event in E::ALL {
            let case = format!("{}-{}", state.name(), event.name());
            match state {
                S::Absent => {}
                S::Distributed => drop(fire(&mut desk, &case, E::Distribute).await),
                S::Abandoned => drop(fire(&mut desk, &case, E::Abandon).await),
            }
            let expected = match (state.on(*event), state, event) {
                (Some(next), ..) => Answer::Applied(next.name().into()),
                (None, S::Distributed, E::Abandon) => Answer::Refused(RefusalKind::TooLate),
                (None, S::Abandoned, E::Distribute) => Answer::Refused(RefusalKind::Abandoned),
                _ => Answer::Repeated,
            };
            assert_eq!(fire(&mut desk, &case, *event).await, expected, "{case}");
        }
    }
    desk.assert_sound().await;
}
