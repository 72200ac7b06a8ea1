//! Goal: the gates hold across processes, whoever waits there is woken, and a claim outlives the worker that made it.

use backstop_activities::books::GATES_CHANNEL;
use backstop_domain::IntentRequest;
use backstop_tests::{
    World,
    intents::{ORDER, intent_workflow, order_of},
    trading::Strategy,
    world::DEADLINE,
};
use futures::future::join_all;
use serde_json::{Value, json};

use crate::{Agreed, agreed, assert_sound};

/// When an order was placed at the exchange, from the request's coming in to its end, by the exchange's own record.
async fn sends(world: &World) -> Vec<(i64, i64)> {
    let requests = world.exchange.all_requests(ORDER).await;
    let placing = requests.iter().filter(|request| request["method"] == "POST");
    let when = |request: &Value, field: &str| request[field].as_i64().unwrap();
    placing.map(|request| (when(request, "received_at_ms"), when(request, "finished_at_ms"))).collect()
}

/// Two worker processes, and several strategies of one rich user with intents, under a limit of one at the exchange.
async fn crowded(strategies: usize, each: usize) -> (World, Vec<(Strategy, Vec<Value>)>) {
    let mut world = World::new().await;
    world.start_second_worker().await;
    let said = world.backstop(&["gate", "--venue", "binance", "1"]).await.unwrap();
    assert!(said.contains("venue binance: 1 intents in flight at once (before: 20)"), "{said}");
    let user = world.strategy().await.user;
    let mut crowd = Vec::new();
    for _ in 0..strategies {
        let strategy = world.strategy_of(&user).await;
        let intents = (0..each).map(|_| world.intent(&strategy, "sell", "120000", "0.01")).collect();
        crowd.push((strategy, intents));
    }
    (world, crowd)
}

/// The row "per-exchange limit 1, two processes: 2 at once".
#[tokio::test]
async fn two_processes_under_a_limit_of_one_never_send_at_the_same_time() {
    let (world, crowd) = crowded(4, 4).await;
    world.exchange.fault_for_all(ORDER, json!({"fault": "delay", "ms": 150, "method": "POST", "times": 1_000})).await;
    let intents: Vec<&Value> = crowd.iter().flat_map(|(_, intents)| intents).collect();
    join_all(
        intents.iter().map(async |intent| world.start_any("ExecuteIntent", &intent_workflow(intent), intent).await),
    )
    .await;
    for intent in &intents {
        assert_eq!(world.end_of(&intent_workflow(intent)).await.kind(), "done");
        assert_eq!(agreed(&world, intent).await, Agreed::Placed);
    }
    let mut sent = sends(&world).await;
    sent.sort_unstable();
    assert_eq!(sent.len(), intents.len());
    for pair in sent.windows(2) {
        assert!(pair[0].1 <= pair[1].0, "two at once: {pair:?}");
    }
    // Both took part.
    for directory in ["failpoints", "failpoints.second"] {
        let passed = std::fs::read_to_string(world.directory().join(directory).join("passed")).unwrap();
        assert!(passed.lines().any(|name| name.starts_with("venue_")), "{directory}: {passed}");
    }
}

/// The row "with a slow check, 10 to 12 of 24 intents sent twice": every answer comes after the send was given up on.
#[tokio::test]
async fn a_venue_that_answers_too_late_is_sent_nothing_twice() {
    let (world, crowd) = crowded(3, 2).await;
    world
        .exchange
        .fault_for_all(ORDER, json!({"fault": "delay_answer", "ms": 2_000, "method": "POST", "times": 1_000}))
        .await;
    let intents: Vec<&Value> = crowd.iter().flat_map(|(_, intents)| intents).collect();
    join_all(
        intents.iter().map(async |intent| world.start_any("ExecuteIntent", &intent_workflow(intent), intent).await),
    )
    .await;
    for intent in &intents {
        assert_eq!(world.end_of(&intent_workflow(intent)).await.kind(), "done");
        assert_eq!(agreed(&world, intent).await, Agreed::Placed);
        assert_eq!(world.exchange.sends(&order_of(intent)).await, 1);
    }
}

#[tokio::test]
async fn a_claim_outlives_its_worker_and_keeps_the_others_out() {
    let mut world = World::new().await;
    world.backstop(&["gate", "--global", "1"]).await.unwrap();
    let strategy = world.strategy().await;
    let other = world.strategy_of(&strategy.user).await;
    let first = world.intent(&strategy, "sell", "120000", "0.1");
    let second = world.intent(&other, "sell", "120000", "0.1");
    world.arm("venue_place.before", "kill");
    world.start_any("ExecuteIntent", &intent_workflow(&first), &first).await;
    world.worker_dies().await;
    assert_eq!(world.intent_stands(&first).await, "claimed opened");
    world.arm("venue_place.before", "hang");
    world.start_worker().await;
    world.start_any("ExecuteIntent", &intent_workflow(&second), &second).await;
    world.shows_failure(&intent_workflow(&second), "gate global").await;
    assert_eq!(world.intent_stands(&second).await, "waiting");
    world.disarm("venue_place.before");
    for intent in [&first, &second] {
        assert_eq!(world.end_of(&intent_workflow(intent)).await.kind(), "done");
        assert_eq!(agreed(&world, intent).await, Agreed::Placed);
    }
    assert_sound(&world).await;
}

#[tokio::test]
async fn whoever_waits_is_told_when_an_intent_has_ended_and_not_before() {
    let world = World::new().await;
    let strategy = world.strategy().await;
    let books = world.database.books(1).await;
    let mut listener = sqlx::postgres::PgListener::connect_with(books.pool()).await.unwrap();
    listener.listen(GATES_CHANNEL).await.unwrap();
    for (intent, kind) in [
        (world.intent(&strategy, "sell", "120000", "0.1"), "done"),
        (world.intent(&strategy, "sell", "120000", "5"), "failed"),
    ] {
        world.start_any("ExecuteIntent", &intent_workflow(&intent), &intent).await;
        let told = tokio::time::timeout(DEADLINE, listener.recv()).await.expect("nobody is told").unwrap();
        assert_eq!(told.payload(), "binance");
        let seen = world.intent_stands(&intent).await;
        assert!(seen.starts_with(kind), "told before its end: {seen}");
        assert_eq!(world.end_of(&intent_workflow(&intent)).await.kind(), kind);
    }
}

/// Who looks by itself looks once a second.
#[tokio::test]
async fn whoever_is_next_passes_as_soon_as_the_one_before_has_ended() {
    const INTENTS: usize = 20;
    const AT_MOST_S: f64 = 0.2;
    let world = World::new().await;
    let strategy = world.strategy().await;
    let books = world.database.books(1).await;
    // The one that all others wait for.
    let first = IntentRequest::read(world.intent(&strategy, "sell", "120000", "0.01")).unwrap();
    books.intent_open(&first, "the test").await.unwrap();
    assert!(books.intent_claim(first.intent_id.as_str(), "the test").await.unwrap().claimed);
    let intents: Vec<Value> = (0..INTENTS).map(|_| world.intent(&strategy, "sell", "120000", "0.01")).collect();
    for intent in &intents {
        world.start_any("ExecuteIntent", &intent_workflow(intent), intent).await;
    }
    for intent in &intents {
        world.intent_is(intent, "waiting").await;
    }
    books.intent_abandon(&first, "the test", true, "enough").await.unwrap();
    books.wake_gates("binance").await.unwrap();
    for intent in &intents {
        assert_eq!(world.end_of(&intent_workflow(intent)).await.kind(), "done");
    }
    let waited = "SELECT sum(extract(epoch FROM claimed_at - before))::float8
                    FROM (SELECT claimed_at, lag(ended_at) OVER (ORDER BY ticket) AS before FROM intents) AS i";
    let waited: f64 = sqlx::query_scalar(waited).fetch_one(&mut world.database.owner().await).await.unwrap();
    println!("{INTENTS} intents have waited {waited:.3} s in all after the ends of those before them");
    assert!(waited < f64::from(u32::try_from(INTENTS).unwrap()) * AT_MOST_S, "{waited} s");
}

#[tokio::test]
async fn a_gate_is_set_at_the_command_line_and_nonsense_is_refused_there() {
    let world = World::without_worker().await;
    let said = world.backstop(&["gate", "--global", "7"]).await.unwrap();
    assert!(said.contains("all venues together: 7 intents in flight at once (before: 100)"), "{said}");
    for (words, says) in [
        (&["gate"][..], "--global"),
        (&["gate", "--global", "0"][..], "0"),
        (&["gate", "--venue", "nowhere", "3"][..], "one of the known venues: binance"),
        (&["gate", "--venue", "binance", "many"][..], "many"),
    ] {
        let refused = world.backstop(words).await.unwrap_err();
        assert!(refused.contains(says), "{words:?}: {refused}");
    }
}
