use std::time::Duration;

use backstop::stack::{free_port, wait_until};
use backstop_tests::world::DEADLINE;

use crate::{
    receiver::{Received, Receiver, RetryAfter},
    scene::{ATTEMPTS, Scene, Written, assert_in_order, toggle},
};

#[tokio::test]
async fn what_is_not_taken_comes_again_the_same_and_holds_back_its_aggregate_only() {
    let mut scene = Scene::new().await;
    let receiver = Receiver::start().await;
    scene.endpoint("shop", &receiver.url(), &["--from-beginning"]).await;
    let aggregate = scene.toggle("ursula", 5).await;
    let third = scene.written_of(&aggregate).await[2].id.clone();
    receiver.answer(&third, ATTEMPTS - 1, 500, None);
    scene.toggle("victor", 5).await;
    scene.adjust("ursula", &["1", "2"]).await;
    let written = scene.written().await;
    scene.taken(&written, || receiver.received()).await;
    assert_in_order(&written, &receiver.received());
    let statuses = |id: &str| receiver.received_of(id).iter().map(|one| one.status).collect::<Vec<_>>();
    // The faults may have been asked for after the event had been taken.
    assert!([vec![500, 500, 204], vec![204]].contains(&statuses(&third)), "{:?}", statuses(&third));
}

/// The endpoint does not answer in time, now and then.
#[tokio::test]
async fn what_was_not_answered_comes_again() {
    let mut scene = Scene::without_worker().await;
    let receiver = Receiver::start().await;
    receiver.dawdle();
    scene.endpoint("shop", &receiver.url(), &["--from-beginning"]).await;
    let aggregate = scene.toggle("ursula", 6).await;
    scene.toggle("victor", 6).await;
    let written = scene.written().await;
    for event in scene.written_of(&aggregate).await.iter().step_by(3) {
        receiver.answer(&event.id, 2, 0, None);
    }
    scene.world.start_worker().await;
    scene.taken(&written, || receiver.received()).await;
    assert_in_order(&written, &receiver.received());
    assert_eq!(receiver.received().iter().filter(|one| !one.accepted()).count(), 4);
}

/// An event whose receiver never answers it counts as dead in the end, though its endpoint is well.
#[tokio::test]
async fn an_event_that_is_never_answered_is_given_up_and_no_other_is() {
    let mut scene = Scene::without_worker().await;
    let receiver = Receiver::start().await;
    scene.endpoint("shop", &receiver.url(), &["--kind", "account.*"]).await;
    let aggregate = scene.toggle("ursula", 2).await;
    receiver.answer(&aggregate, usize::MAX, 0, None);
    scene.world.start_worker().await;
    let books = scene.world.database.books(1).await;
    let mut user = 0;
    // Others have something all the time.
    let mut other = scene.world.database.owner().await;
    let dead = wait_until(DEADLINE, async || {
        user += 1;
        toggle(&mut other, &format!("u-{user}"), 1).await;
        books.outbox_lag().await.unwrap()[0].dead == 1
    });
    assert!(dead.await, "it is tried for ever");
    let dead = books.streams_behind(true, 10).await.unwrap();
    assert_eq!(dead.iter().map(|stream| stream.aggregate.as_str()).collect::<Vec<_>>(), [aggregate.as_str()]);
    let written: Vec<_> =
        scene.written().await.into_iter().filter(|event| event.aggregate.starts_with("account/u-")).collect();
    scene.taken(&written, || receiver.received()).await;
}

#[tokio::test]
async fn an_endpoint_that_is_down_uses_up_no_attempts() {
    let mut scene = Scene::new().await;
    let port = free_port().unwrap();
    scene.endpoint("shop", &format!("http://127.0.0.1:{port}/hook"), &["--from-beginning"]).await;
    for user in 0..20 {
        scene.toggle(&format!("u-{user}"), 2).await;
    }
    let sql = "SELECT failures::text FROM endpoints";
    let failures = "the endpoint was not tried often enough";
    let mut owner = scene.world.database.owner().await;
    scene
        .until(failures, async || {
            let failures: String = sqlx::query_scalar(sql).fetch_one(&mut owner).await.unwrap();
            failures.parse::<usize>().unwrap() > ATTEMPTS + 1
        })
        .await;
    assert_eq!(scene.texts("SELECT DISTINCT attempts::text FROM streams").await, ["0"]);
    assert_eq!(scene.texts("SELECT subject FROM findings WHERE kind = 'delivery_dead'").await, [""; 0]);
    let lag = scene.world.backstop(&["outbox", "status"]).await.unwrap();
    assert!(lag.starts_with("shop: the oldest event waits for "), "{lag}");
    let receiver = Receiver::start_at(port).await;
    let written = scene.written().await;
    scene.taken(&written, || receiver.received()).await;
    assert_in_order(&written, &receiver.received());
}

/// Somebody has deployed something that fails on everything, or is not where it was, or knows us no more.
#[tokio::test]
async fn an_endpoint_that_refuses_everything_uses_up_no_attempts() {
    for status in [500, 401, 404, 302] {
        let mut scene = Scene::new().await;
        let receiver = Receiver::start().await;
        receiver.answer("", usize::MAX, status, None);
        scene.endpoint("shop", &receiver.url(), &["--kind", "account.*"]).await;
        for user in 0..5 {
            scene.toggle(&format!("u-{user}"), 2).await;
        }
        scene.until("it was not tried often enough", async || receiver.received().len() > 2 * ATTEMPTS).await;
        assert_eq!(scene.texts("SELECT DISTINCT attempts::text FROM streams").await, ["0"], "{status}");
        receiver.relent();
        let of_accounts = |event: &Written| event.aggregate.starts_with("account/u-");
        let written: Vec<_> = scene.written().await.into_iter().filter(of_accounts).collect();
        scene.taken(&written, || receiver.received()).await;
        assert_eq!(scene.texts("SELECT subject FROM findings WHERE kind = 'delivery_dead'").await, [""; 0]);
    }
}

#[tokio::test]
async fn an_endpoint_that_wants_to_be_left_alone_is_and_no_attempt_is_counted() {
    const PAUSE: u64 = 2;
    for (status, after) in
        [(429, RetryAfter::Seconds(PAUSE)), (429, RetryAfter::Date(PAUSE)), (410, RetryAfter::Seconds(PAUSE))]
    {
        let mut scene = Scene::without_worker().await;
        let receiver = Receiver::start().await;
        scene.endpoint("shop", &receiver.url(), &["--kind", "account.*"]).await;
        let aggregate = scene.toggle("ursula", 1).await;
        receiver.answer(&aggregate, 1, status, Some(after));
        scene.world.start_worker().await;
        scene.until("it was not asked", async || !receiver.received().is_empty()).await;
        let other = scene.toggle("victor", 1).await;
        scene
            .until("they are never taken", async || {
                [&aggregate, &other].iter().all(|one| receiver.received_of(one).iter().any(Received::accepted))
            })
            .await;
        let came = receiver.received();
        let (first, rest) = came.split_first().unwrap();
        assert_eq!(first.status, status);
        let early = rest.iter().find(|one| one.at < first.at + Duration::from_secs(PAUSE));
        assert!(early.is_none(), "{status} {after:?}: {early:?}");
        assert_eq!(scene.texts("SELECT subject FROM findings WHERE kind = 'delivery_dead'").await, [""; 0]);
    }
}

/// Somebody takes the endpoint away and adds another of its name, while something is on its way to the first.
#[tokio::test]
async fn what_is_written_for_an_endpoint_does_not_go_to_where_it_was_before() {
    let mut scene = Scene::new().await;
    let (before, now) = (Receiver::start().await, Receiver::start().await);
    scene.endpoint("shop", &before.url(), &["--kind", "account.*"]).await;
    let aggregate = scene.toggle("ursula", 2).await;
    before.answer(&aggregate, usize::MAX, 0, None);
    assert!(wait_until(DEADLINE, async || !before.received_of(&aggregate).is_empty()).await, "nothing is sent");
    let remove = ["outbox", "endpoint", "remove", "shop", "--by", "olga", "--reason", "it moves"];
    scene.world.backstop(&remove).await.unwrap();
    scene.endpoint("shop", &now.url(), &["--from-beginning"]).await;
    scene.toggle("victor", 4).await;
    let written = scene.written().await;
    scene.taken(&written, || now.received()).await;
}
