//! Goal: a reward that gave more or less than its amount, or whose users did not get what it says, is found, and its pool frozen.

use backstop_tests::{World, rewards::reward_workflow};

use crate::{damage, found, is_frozen};

#[tokio::test]
async fn a_reward_whose_parts_are_not_its_amount_or_not_its_credits() {
    let world = World::new().await;
    let pool = world.pool("0.5").await;
    let reward = world.reward(&pool, "0.1");
    let id = reward_workflow(&reward);
    assert_eq!(world.run_any("DistributeReward", &id, &reward).await.kind(), "distributed");
    assert_eq!(found(&world).await, Vec::<String>::new());
    let (over, under) = (format!("reward_over_allocated {id}"), format!("reward_under_allocated {id}"));
    let (credits, unknown) = (format!("reward_credits_differ {id}"), format!("reward_unknown {id}"));
    let user = reward["shares"].as_object().unwrap().keys().next().unwrap();
    let rewards = |set: &str| format!("UPDATE rewards SET {set}");
    let part = |by: &str| format!("UPDATE reward_allocations SET amount = amount {by} WHERE owner = '{user}'");
    let gone = "state = 'abandoned', account = NULL, platform_fee = NULL, allocated = NULL";
    let back = format!(
        "state = 'distributed', platform_fee = 0.001, allocated = 0.099,
         account = (SELECT id FROM accounts WHERE owner = '~rewards:{pool}')"
    );
    for (done, undone, as_what) in [
        (part("+ 0.00000001"), part("- 0.00000001"), vec![&credits, &over]),
        (part("- 0.00000001"), part("+ 0.00000001"), vec![&credits, &under]),
        (rewards("amount = 0.2, platform_fee = 0.101"), rewards("amount = 0.1, platform_fee = 0.001"), vec![&credits]),
        (rewards(gone), rewards(&back), vec![&credits, &over]),
        (rewards("reward_id = 'other'"), format!("UPDATE rewards SET reward_id = substr('{id}', 8)"), vec![&unknown]),
    ] {
        damage(&world, done.clone()).await;
        let mut found_now = found(&world).await;
        // Renamed, it is also one of which nobody has got anything.
        found_now.retain(|finding| !finding.ends_with("reward/other"));
        assert_eq!(found_now.iter().collect::<Vec<_>>(), as_what, "{done}");
        assert!(is_frozen(&world, &format!("~rewards:{pool}"), "BTC").await, "after {done}");
        let thaw = sqlx::query("SELECT account_unfreeze('~rewards:' || $1, 'BTC', 'olga', 'ticket 8')").bind(&pool);
        thaw.execute(&mut world.database.owner().await).await.unwrap();
        damage(&world, undone).await;
        assert_eq!(found(&world).await, Vec::<String>::new(), "after {done}");
    }
    // It does not get better with age.
    let old = |by: &str| format!("UPDATE rewards SET at = at {by} interval '2 days'");
    damage(&world, part("+ 0.00000001")).await;
    assert_eq!(found(&world).await, [credits.clone(), over.clone()]);
    damage(&world, old("-")).await;
    assert_eq!(found(&world).await, [credits.clone(), over.clone()]);
    damage(&world, part("- 0.00000001")).await;
    assert_eq!(found(&world).await, Vec::<String>::new());
    damage(&world, old("+")).await;
    let unpaid = format!(
        "DELETE FROM entries WHERE key = 'reward/' || (SELECT reward_id FROM rewards)
            AND account = (SELECT id FROM accounts WHERE owner = '{user}' AND asset = 'BTC')"
    );
    damage(&world, unpaid).await;
    assert!(found(&world).await.contains(&credits));
}
