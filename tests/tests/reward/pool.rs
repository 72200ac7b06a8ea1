//! Goal: a pool never gives more than it holds, whoever asks at once, and what it can't give is refused for good.

use backstop_tests::{World, rewards::reward_workflow};

use crate::{NOTHING, THIRDS, assert_sound, left};

#[tokio::test]
async fn two_workers_that_distribute_twelve_rewards_of_a_pool_that_holds_five_distribute_five() {
    let mut world = World::new().await;
    world.start_second_worker().await;
    let pool = world.pool("0.55").await;
    let rewards: Vec<_> = (0..12).map(|_| world.reward(&pool, "0.1")).collect();
    let runs = rewards.iter().map(async |reward| {
        world.run_any("DistributeReward", &reward_workflow(reward), reward).await.kind().to_owned()
    });
    let ends = futures::future::join_all(runs).await;
    for (reward, end) in rewards.iter().zip(&ends) {
        let has = if end == "distributed" { THIRDS } else { NOTHING };
        assert_eq!(world.rewarded(reward).await, has, "{end}");
        assert!(["distributed", "InsufficientFunds"].contains(&end.as_str()), "{end}");
    }
    assert_eq!(ends.iter().filter(|end| *end == "distributed").count(), 5, "{ends:?}");
    assert_eq!(
        (left(&world, &pool).await, world.holds("~house", "BTC").await),
        ("0.05 + 0".into(), "0.005 + 0".into())
    );
    let first = world.passed().iter().filter(|name| *name == "reward_distribute.after").count();
    assert!(first > 0 && world.second_has_passed("reward_distribute.after"), "one of the two has done it all");
    assert_sound(&world).await;
}

#[tokio::test]
async fn one_that_the_pool_can_not_pay_stays_ended_and_a_new_one_is_paid_once_it_can() {
    let world = World::new().await;
    let pool = world.pool("0.05").await;
    let reward = world.reward(&pool, "0.1");
    let id = reward_workflow(&reward);
    assert_eq!(world.run_any("DistributeReward", &id, &reward).await.kind(), "InsufficientFunds");
    let status = world.status_of(&id).await;
    assert_eq!(status.state, "undone");
    let more = sqlx::query("SELECT adjustment_post('a-1', 'olga', 'ticket 7', '~rewards:' || $1, 'BTC', 0.1)");
    more.bind(&pool).execute(&mut world.database.owner().await).await.unwrap();
    assert_eq!(world.run_any("DistributeReward", &id, &reward).await.kind(), "Abandoned");
    assert_eq!(world.rewarded(&reward).await, NOTHING);
    let another = world.reward(&pool, "0.1");
    assert_eq!(world.run_any("DistributeReward", &reward_workflow(&another), &another).await.kind(), "distributed");
    assert_eq!(left(&world, &pool).await, "0.05 + 0");
    assert_sound(&world).await;
}

#[tokio::test]
async fn a_frozen_pool_gives_nothing_and_a_frozen_user_gets_a_part() {
    let world = World::new().await;
    let (frozen, pool) = (world.pool("0.5").await, world.pool("0.5").await);
    let (refused, reward) = (world.reward(&frozen, "0.1"), world.reward(&pool, "0.1"));
    let mut owner = world.database.owner().await;
    let user = reward["shares"].as_object().unwrap().keys().next().unwrap();
    for account in [&format!("~rewards:{frozen}"), user] {
        let freeze = sqlx::query("SELECT account_freeze($1, 'BTC', 'finding 7')");
        freeze.bind(account).execute(&mut owner).await.unwrap();
    }
    assert_eq!(world.run_any("DistributeReward", &reward_workflow(&refused), &refused).await.kind(), "Frozen");
    assert_eq!(
        (world.rewarded(&refused).await, left(&world, &frozen).await),
        (NOTHING.map(String::from).to_vec(), "0.5 + 0".into())
    );
    assert_eq!(world.run_any("DistributeReward", &reward_workflow(&reward), &reward).await.kind(), "distributed");
    assert_eq!(world.rewarded(&reward).await, THIRDS);
    assert_sound(&world).await;
}
