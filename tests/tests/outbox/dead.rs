use crate::{
    receiver::Receiver,
    scene::{ATTEMPTS, Scene, Written, assert_in_order},
};

const FINDINGS: &str = "SELECT concat_ws(' ', state, subject, evidence ->> 'event', evidence ->> 'last_error')
                          FROM findings WHERE kind = 'delivery_dead' ORDER BY id";
const ACTS: &str = "SELECT concat_ws(' ', act, subject, operator, evidence) FROM operator_acts
                     WHERE act LIKE '%event' ORDER BY id";

/// A scene in which the third of five events of ursula's account is dead.
async fn dead() -> (Scene, Receiver, Vec<Written>) {
    let mut scene = Scene::without_worker().await;
    let receiver = Receiver::start().await;
    scene.endpoint("shop", &receiver.url(), &["--from-beginning"]).await;
    let aggregate = scene.toggle("ursula", 5).await;
    let written = scene.written_of(&aggregate).await;
    receiver.answer(&written[2].id, usize::MAX, 400, None);
    scene.world.start_worker().await;
    gives_up(&scene, &receiver, &written[2], ATTEMPTS).await;
    (scene, receiver, written)
}

/// Waits until the event was sent that often, and is dead.
async fn gives_up(scene: &Scene, receiver: &Receiver, event: &Written, times: usize) {
    let books = scene.world.database.books(1).await;
    let held =
        async || receiver.received_of(&event.id).len() == times && books.outbox_lag().await.unwrap()[0].dead == 1;
    scene.until("it is not given up", held).await;
}

/// How often the receiver has said that it does not take it.
fn refusals(receiver: &Receiver, event: &Written) -> usize {
    receiver.received_of(&event.id).iter().filter(|one| one.status == 400).count()
}

async fn operator(scene: &Scene, words: &[&str]) -> Result<String, String> {
    let signed = ["--by", "olga", "--reason", "ticket 8"];
    scene.world.backstop(&[&["outbox"], words, &signed].concat()).await
}

#[tokio::test]
async fn an_event_that_is_given_up_holds_back_its_aggregate_only_until_it_is_taken_after_all() {
    let (mut scene, receiver, written) = dead().await;
    let (aggregate, third) = (written[2].aggregate.clone(), written[2].id.clone());
    // Everything else goes on, what comes later, too.
    scene.toggle("victor", 5).await;
    scene.adjust("ursula", &["1", "2"]).await;
    let others: Vec<Written> = scene.written().await.into_iter().filter(|event| event.aggregate != aggregate).collect();
    scene.taken(&others, || receiver.received()).await;
    let mut came: Vec<String> = receiver.received_of(&aggregate).iter().map(|one| one.id().to_owned()).collect();
    came.dedup();
    assert_eq!(came, [&written[0].id, &written[1].id, &third].map(String::as_str));
    let open = format!("open shop/{aggregate} {third} HTTP 400 Bad Request");
    assert_eq!(scene.texts(FINDINGS).await, [open.as_str()]);
    let listed = scene.world.backstop(&["outbox", "list", "--dead"]).await.unwrap();
    assert!(listed.contains(&aggregate) && listed.contains(&third) && listed.contains("400"), "{listed}");
    let status = scene.world.backstop(&["outbox", "status"]).await.unwrap();
    assert!(status.contains("1 aggregates are behind, 1 of them dead"), "{status}");

    // The receiver still does not take it: dead again, with the same finding.
    let said = operator(&scene, &["redeliver", "--endpoint", "shop", "--aggregate", &aggregate]).await.unwrap();
    assert_eq!(said, format!("{third} is sent again\n"));
    gives_up(&scene, &receiver, &written[2], 2 * ATTEMPTS).await;
    assert_eq!(scene.texts(FINDINGS).await, [open]);

    receiver.relent();
    operator(&scene, &["redeliver", "--endpoint", "shop", "--all"]).await.unwrap();
    scene.taken(&written, || receiver.received()).await;
    // That the finding is over is an event, too.
    let all = scene.written().await;
    scene.taken(&all, || receiver.received()).await;
    assert_in_order(&all, &receiver.received());
    let closed = format!("closed shop/{aggregate} {third} HTTP 400 Bad Request");
    assert_eq!(scene.texts(FINDINGS).await, [closed]);
    let act = format!("redeliver event shop {third} olga ticket 8");
    assert_eq!(scene.texts(ACTS).await, [act.as_str(), act.as_str()]);
}

#[tokio::test]
async fn an_event_that_is_skipped_is_passed_over_and_those_behind_it_come() {
    let (mut scene, receiver, written) = dead().await;
    let said = operator(&scene, &["skip", "--endpoint", "shop", "--aggregate", &written[2].aggregate]).await.unwrap();
    assert_eq!(said, format!("{} is passed over\n", written[2].id));
    let others = [&written[..2], &written[3..]].concat();
    scene.taken(&others, || receiver.received()).await;
    assert_eq!(refusals(&receiver, &written[2]), ATTEMPTS);
    let findings = scene.texts(FINDINGS).await;
    assert!(findings.len() == 1 && findings[0].starts_with("closed "), "{findings:?}");
    assert_eq!(scene.texts(ACTS).await, [format!("skip event shop {} olga ticket 8", written[2].id)]);
    // There is nothing left to decide on.
    let said = operator(&scene, &["skip", "--endpoint", "shop", "--aggregate", &written[2].aggregate]).await;
    assert!(said.unwrap_err().contains("is dead"));
}

/// An answer is no decision: it stays dead until it is sent again or passed over.
#[tokio::test]
async fn an_event_that_is_given_up_and_answered_for_stays_open_until_it_is_decided() {
    let (mut scene, receiver, written) = dead().await;
    let state = "SELECT concat_ws(' ', state, acknowledged_by) FROM findings WHERE kind = 'delivery_dead'";
    let books = scene.world.database.books(1).await;
    let id: i64 = scene.texts("SELECT id::text FROM findings WHERE kind = 'delivery_dead'").await[0].parse().unwrap();
    assert!(books.finding_acknowledge(id, "olga", "ticket 8").await.unwrap());
    assert_eq!(scene.texts(state).await, ["open olga"]);
    // What waits behind it waits for her, and for nobody else: the endpoint does not lag.
    let waits =
        async || matches!(books.outbox_lag().await.unwrap()[..], [ref lag] if lag.lag_ms == 0 && lag.behind == 1);
    scene.until("the endpoint lags", waits).await;
    let words = ["redeliver", "--endpoint", "shop", "--all"];
    operator(&scene, &words).await.unwrap();
    gives_up(&scene, &receiver, &written[2], 2 * ATTEMPTS).await;
    assert_eq!(scene.texts(state).await, ["open"]);
    receiver.relent();
    operator(&scene, &words).await.unwrap();
    scene.taken(&written, || receiver.received()).await;
    assert_eq!(scene.texts(state).await, ["closed"]);
}

#[tokio::test]
async fn an_endpoint_that_is_removed_takes_its_dead_events_along() {
    let (mut scene, receiver, _) = dead().await;
    operator(&scene, &["endpoint", "remove", "shop"]).await.unwrap();
    let findings = scene.texts(FINDINGS).await;
    assert!(findings.len() == 1 && findings[0].starts_with("closed "), "{findings:?}");
    // Under its old name, from now on.
    receiver.relent();
    scene.endpoint("shop", &receiver.url(), &[]).await;
    let before = receiver.received().len();
    let aggregate = scene.toggle("ursula", 1).await;
    let written = scene.written_of(&aggregate).await.split_off(5);
    scene.taken(&written, || receiver.received()).await;
    assert!(receiver.received()[before..].iter().all(|one| one.id() == written[0].id));
}
