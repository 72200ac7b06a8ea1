use std::collections::HashSet;

use backstop::stack::{Service, free_port};
use backstop_tests::world::program;
use nix::sys::signal::Signal;
use tokio::process::Command;

use crate::{
    receiver::{Received, Receiver},
    scene::{SECRET, Scene, assert_in_order},
};

#[tokio::test]
async fn a_worker_killed_before_it_records_a_delivery_delivers_it_again_under_the_same_id() {
    let mut scene = Scene::without_worker().await;
    let receiver = Receiver::start().await;
    scene.endpoint("shop", &receiver.url(), &["--kind", "account.*"]).await;
    let aggregate = scene.toggle("ursula", 4).await;
    scene.world.arm("publish.sent", "kill");
    scene.world.start_worker().await;
    scene.world.worker_dies().await;
    let first = receiver.received();
    assert_eq!(first.len(), 1);
    assert!(first[0].accepted());
    scene.world.start_worker().await;
    let written = scene.written_of(&aggregate).await;
    scene.taken(&written, || receiver.received()).await;
    assert_in_order(&written, &receiver.received());
    let again = receiver.received_of(first[0].id());
    assert_eq!(again.len(), 2, "it was recorded, or lost");
    assert_eq!(again[0].body, again[1].body);
}

#[tokio::test]
async fn two_workers_publish_at_once_and_none_overtakes_the_other() {
    const USERS: usize = 24;
    // Nobody is taken for silent here, however busy the machine is.
    let mut scene = Scene::waiting_for_answers("60000").await;
    scene.world.start_worker().await;
    scene.world.start_second_worker().await;
    let receiver = Receiver::start().await;
    receiver.dawdle();
    scene.endpoint("shop", &receiver.url(), &["--kind", "account.*"]).await;
    let both = "SELECT DISTINCT lease_by FROM streams WHERE lease_by IS NOT NULL";
    while scene.texts(both).await.len() < 2 {
        for user in 0..USERS {
            scene.toggle(&format!("u-{user}"), 3).await;
        }
        let written = scene.written_of(&format!("account/u-{}/BTC", USERS - 1)).await;
        scene.taken(&written, || receiver.received()).await;
    }
    let written: Vec<_> =
        scene.written().await.into_iter().filter(|event| event.aggregate.starts_with("account/")).collect();
    scene.taken(&written, || receiver.received()).await;
    let came = receiver.received();
    assert_in_order(&written, &came);
    // While all goes well, a stream is one worker's, and nothing comes twice.
    let ids: HashSet<&str> = came.iter().map(Received::id).collect();
    assert_eq!(ids.len(), came.len());
}

/// The example of a consumer, as two processes that get the same deliveries.
#[tokio::test]
async fn two_consumers_given_the_same_deliveries_apply_each_once() {
    let mut scene = Scene::new().await;
    sqlx::raw_sql(
        "CREATE TABLE public.totals (account text PRIMARY KEY, available numeric NOT NULL, events int NOT NULL DEFAULT 1);
         GRANT SELECT, INSERT, UPDATE ON public.totals TO backstop_worker",
    )
    .execute(&mut scene.owner)
    .await
    .unwrap();
    let mut consumers = Vec::new();
    for name in ["one", "two"] {
        let port = free_port().unwrap();
        let mut command = Command::new(program("example-consumer"));
        command.env("DATABASE_URL", scene.world.database.url()).env("BACKSTOP_WEBHOOK_SECRET", SECRET);
        command.env("LISTEN", format!("127.0.0.1:{port}"));
        consumers.push(Service::start(name, scene.world.directory(), command).unwrap());
        // Whichever is up first: an endpoint that is not there yet is tried again.
        scene.endpoint(name, &format!("http://127.0.0.1:{port}/"), &["--from-beginning", "--kind", "entry.*"]).await;
    }
    for user in ["ursula", "victor", "wanda"] {
        scene.adjust(user, &["1.5", "-0.25", "0.00000001", "-0.5", "2", "3"]).await;
    }
    let books = scene.world.database.books(1).await;
    let delivered = async || {
        let lags = books.outbox_lag().await.unwrap();
        lags.len() == 2 && lags.iter().all(|lag| lag.lag_ms == 0 && lag.behind == 0)
    };
    scene.until("the consumers do not get everything", delivered).await;
    let accounts = "SELECT format('entries/%s/%s %s %s', owner, asset, trim_scale(available), version) FROM accounts
                     WHERE version > 0 ORDER BY 1";
    let totals = "SELECT format('%s %s %s', account, trim_scale(available), events) FROM public.totals ORDER BY 1";
    assert_eq!(scene.texts(totals).await, scene.texts(accounts).await);
    for consumer in consumers {
        consumer.stop(Signal::SIGTERM).await.unwrap();
    }
}
