//! Goal: money goes only where the user's allow-list says, at the moment it goes.

use backstop_tests::{End, World, operations::ADDRESS};
use serde_json::json;

fn id(withdrawal: &serde_json::Value) -> String {
    format!("withdrawal/{}", withdrawal["withdrawal_id"].as_str().unwrap())
}

#[tokio::test]
async fn a_destination_that_is_not_on_the_users_list_is_refused_and_nothing_is_debited() {
    let world = World::new().await;
    let mut withdrawal = world.withdrawal("0.25").await;
    withdrawal["destination"]["address"] = json!("1BoatSLRHtKNngkdXEeobR76b53LETtpyT");
    let id = id(&withdrawal);
    let End::Failed(kind, message) = world.run_any("Withdraw", &id, &withdrawal).await else { panic!("not refused") };
    assert_eq!(kind, "DestinationNotAllowed");
    assert!(message.contains("1BoatSLRHtKNngkdXEeobR76b53LETtpyT"), "{message}");
    assert_eq!(world.exchange.withdrawals(&id).await.len(), 0);
    // Ended for good, so that a late request can't take effect once somebody extends the list.
    assert_eq!(world.run_any("Withdraw", &id, &withdrawal).await.kind(), "Abandoned");
}

#[tokio::test]
async fn a_destination_removed_before_the_send_stops_it_and_the_money_is_back() {
    let world = World::new().await;
    let withdrawal = world.withdrawal("0.25").await;
    let id = id(&withdrawal);
    world.arm("venue_submit.before", "hang");
    world.start_any("Withdraw", &id, &withdrawal).await;
    world.reaches(&id, "opened").await;
    let remove = sqlx::query("SELECT destination_remove($1, 'BTC', 'BTC', $2, NULL, 'olga', 'the wallet was stolen')");
    let user = withdrawal["user_id"].as_str().unwrap();
    remove.bind(user).bind(ADDRESS).execute(&mut world.database.owner().await).await.unwrap();
    world.disarm("venue_submit.before");
    assert_eq!(world.end_of(&id).await.kind(), "DestinationNotAllowed");
    assert_eq!(world.verdict(&id).await, backstop_tests::Verdict::Abandoned);
}

#[tokio::test]
async fn the_worker_may_not_change_the_list() {
    let world = World::without_worker().await;
    let allow = sqlx::query("SELECT destination_allow('alice', 'BTC', 'BTC', $1, NULL, 'mallory', 'none')");
    let refused = allow.bind(ADDRESS).execute(&mut world.database.worker().await).await.unwrap_err();
    assert_eq!(refused.as_database_error().unwrap().code().unwrap(), "42501");
}
