//! Goal: a check that is killed on its way is made again, and says the same.

use backstop_tests::World;
use serde_json::json;

use crate::{damage, found};

#[tokio::test]
async fn a_worker_that_dies_around_any_check_changes_nothing_about_what_is_found() {
    let mut world = World::new().await;
    let refund = world.refund().await;
    let user = refund["user_id"].as_str().unwrap();
    assert_eq!(world.run(&refund).await.kind(), "settled");
    damage(&world, format!("UPDATE accounts SET locked = 1 WHERE owner = '{user}'")).await;
    let checks = ["check_seal", "check_books", "check_books_full", "check_reservations", "findings_open"];
    for (n, check) in checks.iter().enumerate() {
        for end in ["before", "after"] {
            let failpoint = format!("{check}.{end}");
            world.arm(&failpoint, "kill");
            let id = format!("reconcile/{n}-{end}");
            world
                .start_any("Reconcile", &id, &json!({"full": true, "checks": ["seal", "books", "reservations"]}))
                .await;
            world.worker_dies().await;
            world.start_worker().await;
            world.end_of(&id).await;
        }
    }
    let account = format!("account/{user}/BTC");
    assert_eq!(found(&world).await, [format!("account_differs {account}"), format!("locked_differs {account}")]);
    let sql = "SELECT count(*)::text FROM findings WHERE state = 'open' AND $1 <> ''";
    world.books_say(sql, "all", "2").await;
    // Each of the runs that came through sealed what was there, once.
    world
        .books_say(
            "SELECT entries::text FROM seals WHERE $1 <> '' ORDER BY seq DESC LIMIT 1",
            "all",
            &entries(&world).await,
        )
        .await;
}

async fn entries(world: &World) -> String {
    let count = sqlx::query_scalar("SELECT count(*)::text FROM entries");
    count.fetch_one(&mut world.database.owner().await).await.unwrap()
}
