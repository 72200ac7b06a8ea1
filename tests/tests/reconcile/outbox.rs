//! Goal: an endpoint that does not get its events is noticed, and it is over when it has got them.

use backstop_tests::World;

use crate::says;

#[tokio::test]
async fn an_endpoint_whose_events_wait_for_long_is_found_until_it_has_them() {
    // Nobody publishes here.
    let world = World::with(&[("BACKSTOP_PUBLISH_EVERY_MS", "0")]).await;
    let file = format!("file://{}", world.directory().join("events.jsonl").display());
    // Not from the beginning: the demo world's events may be old by now.
    let add = ["outbox", "endpoint", "add", "ledger", &file, "--by", "olga", "--reason", "to see"];
    let (text, status) = says(&world, &add).await;
    assert_eq!(status, 0, "{text}");
    let refund = world.true_refund().await;
    assert_eq!(world.run(&refund).await.kind(), "settled");
    world.finds(&[]).await;
    world.damage("UPDATE outbox SET at = now() - interval '1 hour'").await;
    world.finds(&["Warning outbox_lags endpoint/ledger".to_owned()]).await;
    assert_eq!(world.frozen().await, Vec::<String>::new());
    let remove = ["outbox", "endpoint", "remove", "ledger", "--by", "olga", "--reason", "seen"];
    assert_eq!(says(&world, &remove).await.1, 0);
    world.finds(&[]).await;
}
