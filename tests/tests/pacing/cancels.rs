//! Goal: a cancel does not stand in line with new orders, by the exchange's own record of what two processes ask of it.

use backstop::stack::wait_until;
use backstop_tests::{
    World,
    intents::{ORDER, intent_workflow, order_of},
    trading::Strategy,
    world::DEADLINE,
};
use futures::future::join_all;
use serde_json::Value;

use crate::processes::now_us;

const BACKLOG: usize = 100;
const CANCELS: usize = 3;
/// How many activities the SDK takes from a task queue at once, unless it is told otherwise.
const PLACES_BY_DEFAULT: usize = 100;
/// Each order takes three turns, two of them lookups.
const INTERVAL_MS: i32 = 1_000;

/// Orders that may be cancelled, each of a strategy of its own; both processes know the venue's rules by now.
async fn placed(world: &World) -> Vec<(Strategy, Value)> {
    let mut placed = Vec::new();
    let knows = |world: &World| {
        world.second_has_passed("venue_filters.after")
            && world.passed().iter().any(|name| name == "venue_filters.after")
    };
    while placed.len() < CANCELS || !knows(world) {
        let strategy = world.strategy().await;
        let intent = world.intent(&strategy, "sell", "120000", "0.7");
        assert_eq!(world.run_any("ExecuteIntent", &intent_workflow(&intent), &intent).await.kind(), "done");
        placed.push((strategy, intent));
    }
    placed
}

/// So many intents that have set their funds aside and wait for their turns.
async fn backlog(world: &World, many: usize) {
    // Some are placed until the last one waits.
    let user = world.strategy().await.user;
    let intents = join_all((0..many + many / 10).map(async |_| {
        let strategy = world.strategy_of(&user).await;
        world.intent(&strategy, "sell", "120000", "0.001")
    }));
    for intent in intents.await {
        world.start_any("ExecuteIntent", &intent_workflow(&intent), &intent).await;
    }
    let mut owner = world.database.owner().await;
    let waiting = "SELECT count(*) FROM orders WHERE state = 'opened'";
    let waiting = wait_until(DEADLINE, async || {
        sqlx::query_scalar::<_, i64>(waiting).fetch_one(&mut owner).await.unwrap() >= i64::try_from(many).unwrap()
    });
    assert!(waiting.await, "there is no backlog");
}

#[tokio::test]
async fn at_most_two_calls_go_before_a_cancel_that_comes_into_a_backlog_of_a_hundred_orders() {
    let mut world = World::new().await;
    world.start_second_worker().await;
    world.backstop(&["gate", "--venue", "binance", "1000"]).await.unwrap();
    world.backstop(&["gate", "--global", "1000"]).await.unwrap();
    let placed = placed(&world).await;
    world.pace(5 * INTERVAL_MS).await;
    backlog(&world, BACKLOG).await;
    world.pace(INTERVAL_MS).await;
    for (strategy, intent) in placed.iter().take(CANCELS) {
        let cancel = world.cancel_intent(strategy, intent);
        world.hold_both("venue_cancel_order.before");
        world.start_any("ExecuteIntent", &intent_workflow(&cancel), &cancel).await;
        world.one_is_held_at("venue_cancel_order.before").await;
        let asked_at = now_us();
        world.let_both_go("venue_cancel_order.before");
        let id = order_of(intent);
        let is_ours = |request: &Value| request["method"] == "DELETE" && request["client_id"] == id.as_str();
        let sent = wait_until(DEADLINE, async || world.exchange.all_requests(ORDER).await.iter().any(is_ours));
        assert!(sent.await, "it was never sent");
        let log = world.exchange.log().await;
        let since = log.iter().filter(|request| request["received_at_us"].as_i64().unwrap() > asked_at);
        let before: Vec<&Value> = since.take_while(|request| !is_ours(request)).collect();
        assert!(before.len() <= 2, "{} calls went before it: {before:#?}", before.len());
    }
}

#[tokio::test]
async fn a_cancel_reaches_its_process_though_more_orders_wait_there_than_a_worker_has_places_for_by_default() {
    // Nobody steps aside meanwhile.
    let world = World::with(&[("BACKSTOP_VENUE_TURN_WAIT_MS", "60000")]).await;
    world.backstop(&["gate", "--venue", "binance", "1000"]).await.unwrap();
    world.backstop(&["gate", "--global", "1000"]).await.unwrap();
    let strategy = world.strategy().await;
    let intent = world.intent(&strategy, "sell", "120000", "0.7");
    assert_eq!(world.run_any("ExecuteIntent", &intent_workflow(&intent), &intent).await.kind(), "done");
    world.pace(20 * INTERVAL_MS).await;
    backlog(&world, PLACES_BY_DEFAULT + BACKLOG / 2).await;
    let cancel = world.cancel_intent(&strategy, &intent);
    world.start_any("ExecuteIntent", &intent_workflow(&cancel), &cancel).await;
    let comes = async || world.passed().iter().any(|name| name == "venue_cancel_order.before");
    assert!(wait_until(DEADLINE / 3, comes).await, "it does not reach the process' queue");
}
