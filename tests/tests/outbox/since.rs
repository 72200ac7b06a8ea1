use crate::{
    receiver::Receiver,
    scene::{Scene, toggle},
};

#[tokio::test]
async fn an_endpoint_gets_the_kinds_it_has_asked_for_and_what_has_committed_since() {
    let mut scene = Scene::new().await;
    let receiver = Receiver::start().await;
    scene.adjust("ursula", &["1", "2"]).await;
    scene.toggle("ursula", 2).await;
    // Under way while the endpoint is added, and committed after it.
    let mut late = scene.world.database.owner().await;
    sqlx::raw_sql("BEGIN").execute(&mut late).await.unwrap();
    toggle(&mut late, "victor", 2).await;
    scene.endpoint("shop", &receiver.url(), &["--kind", "account.frozen", "--kind", "entry.*"]).await;
    sqlx::raw_sql("COMMIT").execute(&mut late).await.unwrap();
    scene.adjust("ursula", &["3"]).await;
    scene.toggle("ursula", 4).await;
    scene.adjust("wanda", &["5"]).await;

    let mut expected = scene.written_of("entries/ursula/BTC").await.split_off(2);
    expected.extend(scene.written_of("entries/wanda/BTC").await);
    expected.extend(scene.written_of("account/victor/BTC").await.into_iter().step_by(2));
    expected.extend(scene.written_of("account/ursula/BTC").await.into_iter().skip(2).step_by(2));
    assert_eq!(expected.len(), 1 + 1 + 1 + 2);
    scene.taken(&expected, || receiver.received()).await;
    // Once it has everything, nothing else has come.
    let books = scene.world.database.books(1).await;
    let up_to_date =
        async || matches!(books.outbox_lag().await.unwrap()[..], [ref lag] if lag.lag_ms == 0 && lag.behind == 0);
    scene.until("it is never up to date", up_to_date).await;
    let mut came: Vec<String> = receiver.received().iter().map(|one| one.id().to_owned()).collect();
    let mut expected: Vec<String> = expected.into_iter().map(|event| event.id).collect();
    came.sort();
    expected.sort();
    assert_eq!(came, expected);
}
