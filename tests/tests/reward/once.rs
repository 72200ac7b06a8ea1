//! Goal: a reward is distributed once, whoever starts it and however often, and shows what it does.

use backstop_tests::{End, World, rewards::reward_workflow};
use backstop_workflows::search;
use serde_json::json;

use crate::{THIRDS, assert_sound, left};

#[tokio::test]
async fn a_reward_credits_its_users_and_the_house_and_shows_how() {
    let world = World::new().await;
    let pool = world.pool("0.5").await;
    let reward = world.reward(&pool, "0.1");
    let id = reward_workflow(&reward);
    let end = world.run_any("DistributeReward", &id, &reward).await;
    let End::Result(receipt) = &end else { panic!("{end:?}") };
    let parts: serde_json::Map<_, _> =
        reward["shares"].as_object().unwrap().keys().map(|user| (user.clone(), json!("0.033"))).collect();
    let expected = json!({
        "reward_id": reward["reward_id"], "state": "distributed", "pool": pool, "asset_id": "BTC", "amount": "0.1",
        "platform_fee": "0.001", "allocations": parts, "requested_by": "olga", "reason": null,
    });
    assert_eq!(*receipt, expected);
    assert_eq!(world.rewarded(&reward).await, THIRDS);
    assert_eq!((left(&world, &pool).await, world.holds("~house", "BTC").await), ("0.4 + 0".into(), "0.001 + 0".into()));
    let status = world.status_of(&id).await;
    assert_eq!((status.state.as_str(), status.steps.len()), ("distributed", 1));
    assert_eq!(status.operation, format!("{id}: 0.1 BTC of pool {pool} to 3 users"));
    assert_eq!((status.steps[0].step.as_str(), status.steps[0].undo.as_str()), ("distribute reward", "abandon reward"));
    assert_eq!(world.summaries(&id).await, [format!("distribute {}", status.operation)]);
    let attributes = world.search_attributes(&id).await;
    for (key, value) in [(&search::ASSET_ID, "BTC"), (&search::OPERATION_STATE, "distributed")] {
        assert_eq!(attributes.get(key).as_deref(), Some(value), "{key:?}");
    }
    assert_sound(&world).await;

    // Started again, under its own id or another, it answers with the same; with another content it is refused.
    assert_eq!(world.run_any("DistributeReward", &id, &reward).await, end);
    assert_eq!(world.run_any("DistributeReward", "another", &reward).await, end);
    let mut other = reward.clone();
    let user = reward["shares"].as_object().unwrap().keys().next_back().unwrap();
    other["shares"][user] = json!("1.1");
    let End::Failed(kind, message) = world.run_any("DistributeReward", &id, &other).await else {
        panic!("not refused")
    };
    assert_eq!(kind, "Conflict");
    assert!(message.contains(&format!("another shares.{user}")), "{message}");
    assert_eq!(
        (world.rewarded(&reward).await, left(&world, &pool).await),
        (THIRDS.map(String::from).to_vec(), "0.4 + 0".into())
    );
    assert_sound(&world).await;
}

#[tokio::test]
async fn of_several_workflows_that_distribute_one_reward_at_once_one_does() {
    let mut world = World::new().await;
    world.start_second_worker().await;
    let pool = world.pool("0.5").await;
    let reward = world.reward(&pool, "0.1");
    let runs = (0..8).map(async |number| {
        let id = format!("{}/{number}", reward_workflow(&reward));
        world.run_any("DistributeReward", &id, &reward).await.kind().to_owned()
    });
    assert_eq!(futures::future::join_all(runs).await, ["distributed"; 8]);
    assert_eq!(
        (world.rewarded(&reward).await, left(&world, &pool).await),
        (THIRDS.map(String::from).to_vec(), "0.4 + 0".into())
    );
    assert_sound(&world).await;
}
