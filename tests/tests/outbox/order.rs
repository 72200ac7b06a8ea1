use std::{collections::BTreeMap, process::Stdio};

use backstop_activities::outbox::{BadDelivery, WebhookSecret};
use rust_decimal::Decimal;
use tokio::{io::AsyncWriteExt, process::Command};

use crate::{
    receiver::{Received, Receiver},
    scene::{SECRET, Scene, Written, assert_in_order, toggle},
};

/// The signature as somebody else's program works it out, as the README tells it.
async fn by_python(one: &Received) -> String {
    const SCRIPT: &str = "import base64, hashlib, hmac, sys; secret, id, timestamp = sys.argv[1:]; \
         key = base64.b64decode(secret.removeprefix('whsec_')); \
         signed = f'{id}.{timestamp}.'.encode() + sys.stdin.buffer.read(); \
         print('v1,' + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode())";
    let (id, timestamp, _) = one.signed();
    let mut python = Command::new("python3");
    python.args(["-c", SCRIPT, SECRET, id, timestamp]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut python = python.spawn().unwrap();
    python.stdin.take().unwrap().write_all(&one.body).await.unwrap();
    let output = python.wait_with_output().await.unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn assert_is_a_cloud_event(one: &Received, written: &Written) {
    assert_eq!(one.header("content-type"), "application/cloudevents+json");
    let event = &one.event;
    assert_eq!(
        [&event["specversion"], &event["source"], &event["datacontenttype"]],
        ["1.0", "/backstop/test", "application/json"]
    );
    assert_eq!(event["subject"], written.aggregate.as_str());
    assert_eq!(event["sequence"].as_str().unwrap().parse::<i64>().unwrap(), written.place);
    assert_eq!(event["sequence"].as_str().unwrap().len(), 19);
    assert!(event["type"].as_str().unwrap().starts_with("backstop."), "{event}");
    assert!(event["time"].as_str().unwrap().ends_with('Z') && event["data"].is_object(), "{event}");
}

#[tokio::test]
async fn every_event_arrives_signed_and_in_order_and_the_entries_add_up_to_the_balances() {
    let mut scene = Scene::new().await;
    let receiver = Receiver::start().await;
    scene.endpoint("shop", &receiver.url(), &["--from-beginning"]).await;
    for user in ["ursula", "victor"] {
        scene.toggle(user, 12).await;
        scene.adjust(user, &["1.5", "-0.25", "0.00000001", "-0.5"]).await;
    }
    let refund = scene.world.refund().await;
    assert_eq!(scene.world.run(&refund).await.receipt().state.name(), "settled");
    let written = scene.written().await;
    scene.taken(&written, || receiver.received()).await;
    let came = receiver.received();
    assert_in_order(&written, &came);

    let secret = WebhookSecret::read(&SECRET.into()).unwrap();
    for one in &came {
        assert_is_a_cloud_event(one, written.iter().find(|event| event.id == one.id()).unwrap());
        let (id, timestamp, signature) = one.signed();
        assert_eq!((id, secret.verify(id, timestamp, signature, &one.body)), (one.id(), Ok(())));
        let mut changed = one.body.clone();
        changed[1] ^= 1;
        assert_eq!(secret.verify(id, timestamp, signature, &changed), Err(BadDelivery::Signature));
    }
    for one in came.iter().rev().take(3) {
        assert_eq!(by_python(one).await, one.signed().2);
    }
    let settled = came.iter().find(|one| one.event["type"] == "backstop.payout.settled").unwrap();
    assert_eq!(settled.event["data"]["amount"], "0.25");

    let mut sums: BTreeMap<String, Decimal> = BTreeMap::new();
    for event in came.iter().map(|one| &one.event).filter(|event| event["id"].as_str().unwrap().starts_with("entry/")) {
        let change: Decimal = event["data"]["d_available"].as_str().unwrap().parse().unwrap();
        *sums.entry(event["subject"].as_str().unwrap().to_owned()).or_default() += change;
    }
    let sql = "SELECT format('entries/%s/%s %s', owner, asset, trim_scale(available)) FROM accounts
                WHERE version > 0 ORDER BY 1";
    let mut sums: Vec<String> = sums.iter().map(|(account, sum)| format!("{account} {}", sum.normalize())).collect();
    sums.sort();
    assert_eq!(sums, scene.texts(sql).await);
}

/// Ids are handed out before the commit: the smaller one may show up later.
#[tokio::test]
async fn what_commits_late_is_not_lost() {
    let mut scene = Scene::new().await;
    let receiver = Receiver::start().await;
    scene.endpoint("shop", &receiver.url(), &["--from-beginning"]).await;
    let mut late = scene.world.database.owner().await;
    sqlx::raw_sql("BEGIN").execute(&mut late).await.unwrap();
    let held = toggle(&mut late, "ursula", 3).await;
    scene.toggle("victor", 3).await;
    // Whoever looks now must not take what is there for all that there is up to here.
    let mut worker = scene.world.database.worker().await;
    for _ in 0..3 {
        sqlx::query("SELECT outbox_relay(1000)").execute(&mut worker).await.unwrap();
    }
    sqlx::raw_sql("COMMIT").execute(&mut late).await.unwrap();
    let written = scene.written().await;
    assert_eq!(written.iter().filter(|event| event.aggregate == held).count(), 3);
    scene.taken(&written, || receiver.received()).await;
    assert_in_order(&written, &receiver.received());
}

/// More than a round of the relay reads, some of it in one transaction.
#[tokio::test]
async fn a_relay_that_reads_little_at_a_time_reads_everything() {
    let mut scene = Scene::without_worker().await;
    let receiver = Receiver::start().await;
    scene.endpoint("shop", &receiver.url(), &["--from-beginning"]).await;
    sqlx::raw_sql("BEGIN").execute(&mut scene.owner).await.unwrap();
    scene.toggle("ursula", 9).await;
    scene.adjust("ursula", &["1", "2", "3", "4", "5"]).await;
    sqlx::raw_sql("COMMIT").execute(&mut scene.owner).await.unwrap();
    scene.toggle("victor", 5).await;
    let mut worker = scene.world.database.worker().await;
    let mut rounds = 0;
    scene
        .until("the relay never ends", async || {
            rounds += 1;
            let more = sqlx::query_scalar::<_, bool>("SELECT outbox_relay(2)").fetch_one(&mut worker).await.unwrap();
            // Somebody else's transaction may hold it up for a while.
            let left = "SELECT count(*) FROM relays AS r WHERE EXISTS (SELECT FROM outbox WHERE xid >= r.upto)
                           OR EXISTS (SELECT FROM entries WHERE xid >= r.upto)";
            !more && sqlx::query_scalar::<_, i64>(left).fetch_one(&mut worker).await.unwrap() == 0
        })
        .await;
    assert!(rounds > 5, "{rounds}");
    scene.world.start_worker().await;
    let written = scene.written().await;
    scene.taken(&written, || receiver.received()).await;
    assert_in_order(&written, &receiver.received());
}
