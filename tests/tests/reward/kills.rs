//! Goal: a worker killed right before or right after a side effect loses and doubles nothing.

use backstop_tests::{World, rewards::reward_workflow};

use crate::{NOTHING, THIRDS, assert_sound, left};

/// Kills the worker there, starts another, and gives how it ended. The pool holds so much.
async fn killed_at(failpoint: &str, holds: &str) -> (World, String, serde_json::Value, String) {
    let mut world = World::new().await;
    let pool = world.pool(holds).await;
    let reward = world.reward(&pool, "0.1");
    let id = reward_workflow(&reward);
    world.arm(failpoint, "kill");
    world.start_any("DistributeReward", &id, &reward).await;
    world.worker_dies().await;
    world.start_worker().await;
    let end = world.end_of(&id).await.kind().to_owned();
    assert_sound(&world).await;
    (world, pool, reward, end)
}

async fn is_distributed_once(failpoint: &str) {
    let (world, pool, reward, end) = killed_at(failpoint, "0.5").await;
    assert_eq!((end.as_str(), left(&world, &pool).await.as_str()), ("distributed", "0.4 + 0"), "{failpoint}");
    assert_eq!(world.rewarded(&reward).await, THIRDS, "{failpoint}");
}

/// The steps of one workflow task are made again together: whoever finds its own tombstone is told so, and why it is there.
async fn is_ended_once(failpoint: &str, as_what: &str) {
    let (world, pool, reward, end) = killed_at(failpoint, "0.05").await;
    assert_eq!((end.as_str(), left(&world, &pool).await.as_str()), (as_what, "0.05 + 0"), "{failpoint}");
    assert_eq!(world.rewarded(&reward).await, NOTHING, "{failpoint}");
    let why = "SELECT state || ': ' || reason FROM rewards WHERE 'reward/' || reward_id = $1";
    let id = reward_workflow(&reward);
    let said = format!("abandoned: undone by workflow {id}: ~rewards:{pool} has 0.05 BTC available, 0.1 needed");
    world.books_say(why, &id, &said).await;
}

#[tokio::test]
async fn before_and_after_distributing() {
    tokio::join!(is_distributed_once("reward_distribute.before"), is_distributed_once("reward_distribute.after"));
}

#[tokio::test]
async fn before_and_after_undoing() {
    tokio::join!(
        is_ended_once("reward_abandon.before", "InsufficientFunds"),
        is_ended_once("reward_abandon.after", "Abandoned")
    );
}
