//! Goal: a reward that is cancelled is distributed to all or to nobody, and its end says which.

use backstop_tests::{End, World, rewards::reward_workflow};

use crate::{NOTHING, THIRDS, assert_sound, left};

#[tokio::test]
async fn cancelled_before_it_begins_it_never_happens() {
    let mut world = World::without_worker().await;
    let pool = world.pool("0.5").await;
    let reward = world.reward(&pool, "0.1");
    let id = reward_workflow(&reward);
    world.start_any("DistributeReward", &id, &reward).await;
    assert!(world.temporal(&["workflow", "cancel", "-w", &id]).await.status.success());
    world.start_worker().await;
    assert_eq!(world.end_of(&id).await, End::Cancelled);
    assert_eq!(world.status_of(&id).await.state, "undone");
    assert_eq!(
        (world.rewarded(&reward).await, left(&world, &pool).await),
        (NOTHING.map(String::from).to_vec(), "0.5 + 0".into())
    );
    let why = "SELECT state || ': ' || reason FROM rewards WHERE 'reward/' || reward_id = $1";
    world.books_say(why, &id, &format!("abandoned: undone by workflow {id}: cancelled")).await;
    assert_eq!(world.run_any("DistributeReward", &id, &reward).await.kind(), "Abandoned");
    assert_sound(&world).await;
}

#[tokio::test]
async fn cancelled_while_it_is_distributed_it_ends_as_what_the_books_say() {
    for point in ["reward_distribute.before", "reward_distribute.after"] {
        let world = World::new().await;
        let pool = world.pool("0.5").await;
        let reward = world.reward(&pool, "0.1");
        let id = reward_workflow(&reward);
        world.arm(point, "hang");
        world.start_any("DistributeReward", &id, &reward).await;
        world.held_at(point).await;
        assert!(world.temporal(&["workflow", "cancel", "-w", &id]).await.status.success());
        world.disarm(point);
        let end = world.end_of(&id).await;
        let (has, rest) = if end == End::Cancelled { (NOTHING, "0.5 + 0") } else { (THIRDS, "0.4 + 0") };
        assert!(["cancelled", "distributed"].contains(&end.kind()), "{end:?}");
        assert!(!(end == End::Cancelled && point.ends_with("after")), "cancelled, and distributed");
        assert_eq!(
            (world.rewarded(&reward).await, left(&world, &pool).await),
            (has.map(String::from).to_vec(), rest.into()),
            "{end:?}"
        );
        assert_sound(&world).await;
    }
}

/// The call that distributes it is given up, its commit is there: the undo says that it is too late, and the end is the
/// receipt.
#[tokio::test]
async fn an_undo_that_comes_too_late_ends_as_distributed() {
    let mut world = World::new().await;
    let pool = world.pool("0.5").await;
    let reward = world.reward(&pool, "0.1");
    let id = reward_workflow(&reward);
    world.arm("reward_distribute.after", "kill");
    world.start_any("DistributeReward", &id, &reward).await;
    world.worker_dies().await;
    // Before a worker is back, so that it is seen with the task that would distribute it again.
    assert!(world.temporal(&["workflow", "cancel", "-w", &id]).await.status.success());
    world.start_worker().await;
    assert_eq!(world.end_of(&id).await.kind(), "distributed");
    assert_eq!(
        (world.rewarded(&reward).await, left(&world, &pool).await),
        (THIRDS.map(String::from).to_vec(), "0.4 + 0".into())
    );
    assert_sound(&world).await;
}
