//! Goal: ticks keep to their grid, one at a time, whatever becomes of the one before, of its parts, or of its worker.

use backstop::stack::wait_until;
use backstop_tests::{World, operations::End, world::DEADLINE};
use serde_json::json;

use crate::{Maker, assert_over, is_open, word};

/// A run has so many ticks.
const LAST_TICK: usize = 20;
const MARKET: &str = "/api/v3/ticker/bookTicker";

#[tokio::test]
async fn missed_ticks_are_counted_and_not_made_up_for() {
    let world = World::new().await;
    let maker = Maker::of(&world, 250).await;
    world.arm("strategy_sync.before", "hang");
    maker.start(&world).await;
    world.held_at("strategy_sync.before").await;
    let held = maker.ticks(&world).await;
    assert_eq!(held.run, 1, "{held:?}");
    // A component's time is longer than many ticks.
    world.disarm("strategy_sync.before");
    maker.ticks_are(&world, "none was missed", |ticks| ticks.missed > 0 && ticks.run > 1).await;
    let ticks = maker.ticks(&world).await;
    assert!(ticks.last.unwrap() - held.last.unwrap() + 1 >= ticks.run, "{held:?} {ticks:?}");
    maker.stop(&world).await;
    assert_over(&world, &maker).await;
}

/// The last tick before the workflow goes on as a new run, which knows nothing of what was asked of this one.
#[tokio::test]
async fn who_stops_it_in_the_last_tick_of_a_run_is_heard() {
    let world = World::new().await;
    let maker = Maker::of(&world, 500).await;
    maker.start(&world).await;
    let quotes = |end: &str| world.passed().iter().filter(|step| **step == format!("strategy_quote.{end}")).count();
    assert!(wait_until(DEADLINE, async || quotes("after") == LAST_TICK - 1).await);
    world.arm("strategy_quote.before", "hang");
    world.held_at("strategy_quote.before").await;
    assert_eq!(quotes("before"), LAST_TICK);
    world.update(&maker.id(), "stop", word()).await.unwrap();
    world.disarm("strategy_quote.before");
    assert!(matches!(world.end_of(&maker.id()).await, End::Result(_)));
    assert_over(&world, &maker).await;
}

#[tokio::test]
async fn a_component_that_fails_is_skipped_and_the_others_run() {
    let world = World::new().await;
    let maker = Maker::of(&world, 500).await;
    maker.start(&world).await;
    maker.has_quotes(&world, 4).await;
    let fault =
        world.exchange.fault_for_all(MARKET, json!({"fault": "status", "status": 500, "times": 1_000_000})).await;
    maker.shows(&world, "quote", "could not be read").await;
    let orders = world.exchange.all_orders().await;
    let sell = orders.iter().find(|order| order["side"] == "SELL" && is_open(order)).unwrap();
    world.exchange.fill(sell["client_id"].as_str().unwrap(), json!({"qty": "0.004"})).await;
    let sold = "SELECT coalesce(trim_scale(sum(f.base))::text, 'none') FROM fills AS f JOIN orders AS o USING (order_id) WHERE o.strategy_key = $1";
    world.books_say(sold, &maker.key, "0.004").await;
    world.exchange.end_fault(&fault).await;
    maker.shows(&world, "quote", "nothing to do").await;
    maker.stop(&world).await;
    assert_over(&world, &maker).await;
}

#[tokio::test]
async fn a_worker_that_is_killed_in_a_tick_loses_and_doubles_no_order() {
    for failpoint in ["strategy_run.after", "strategy_sync.before", "strategy_quote.after", "venue_place.after"] {
        let mut world = World::new().await;
        let maker = Maker::of(&world, 500).await;
        world.arm(failpoint, "kill");
        maker.start(&world).await;
        world.worker_dies().await;
        world.start_worker().await;
        maker.has_quotes(&world, 4).await;
        maker.stop(&world).await;
        assert_over(&world, &maker).await;
    }
}

#[tokio::test]
async fn one_that_was_ended_by_force_is_started_again_and_one_that_was_stopped_is_not() {
    let world = World::watched().await;
    let maker = Maker::of(&world, 500).await;
    maker.start(&world).await;
    maker.has_quotes(&world, 4).await;
    let terminated = world.temporal(&["workflow", "terminate", "-w", &maker.id(), "--reason", "a test"]).await;
    assert!(terminated.status.success(), "{terminated:?}");
    world.runs(&maker.id()).await;
    maker.ticks_are(&world, "it does not tick again", |ticks| ticks.run > 1).await;
    assert!(matches!(maker.stop(&world).await, End::Result(_)));
    assert_over(&world, &maker).await;
    // The same start again, by hand.
    let again = world.run_any("RunStrategy", &maker.id(), &maker.input).await;
    assert!(matches!(again, End::Result(_)), "{again:?}");
    assert_over(&world, &maker).await;
}

#[tokio::test]
async fn a_cancelled_run_stops_its_strategy_and_ends_its_orders() {
    let world = World::new().await;
    let maker = Maker::of(&world, 500).await;
    maker.start(&world).await;
    maker.has_quotes(&world, 4).await;
    assert!(world.temporal(&["workflow", "cancel", "-w", &maker.id()]).await.status.success());
    assert_eq!(world.end_of(&maker.id()).await, End::Cancelled);
    world.books_say("SELECT status FROM strategies WHERE strategy_key = $1", &maker.key, "stopped").await;
    assert_over(&world, &maker).await;
}

#[tokio::test]
async fn cancelled_before_the_venue_has_said_whether_it_lists_the_pair_it_is_cancelled_and_was_never_started() {
    let world = World::new().await;
    let maker = Maker::of(&world, 500).await;
    world.arm("strategy_market.before", "hang");
    maker.start(&world).await;
    world.held_at("strategy_market.before").await;
    assert!(world.temporal(&["workflow", "cancel", "-w", &maker.id()]).await.status.success());
    assert_eq!(world.end_of(&maker.id()).await, End::Cancelled);
    let started = sqlx::query_scalar::<_, bool>("SELECT EXISTS (SELECT FROM strategies WHERE strategy_key = $1)");
    assert!(!started.bind(&maker.key).fetch_one(&mut world.database.owner().await).await.unwrap());
}

#[tokio::test]
async fn cancelled_in_the_moment_of_a_tick_it_ends() {
    let mut world = World::new().await;
    let maker = Maker::of(&world, 3_000).await;
    maker.start(&world).await;
    maker.has_quotes(&world, 4).await;
    world.cancel_as_its_timer_fires(&maker.id()).await;
    assert_eq!(world.end_of(&maker.id()).await, End::Cancelled);
    assert_over(&world, &maker).await;
}

#[tokio::test]
async fn a_long_run_goes_on_with_its_ticks_in_a_new_history() {
    let world = World::new().await;
    let maker = Maker::of(&world, 250).await;
    maker.start(&world).await;
    maker.ticks_are(&world, "it does not go on", |ticks| ticks.run > 21).await;
    let described =
        world.temporal(&["workflow", "list", "-q", &format!("WorkflowId = '{}'", maker.id()), "-o", "json"]).await;
    let listed = String::from_utf8_lossy(&described.stdout).into_owned();
    assert!(listed.contains("CONTINUED_AS_NEW"), "{listed}");
    maker.stop(&world).await;
    assert_over(&world, &maker).await;
}

#[tokio::test]
async fn one_that_was_ended_by_force_while_its_orders_were_ended_goes_on_ending_them() {
    let mut world = World::watched().await;
    let maker = Maker::of(&world, 500).await;
    maker.start(&world).await;
    maker.has_quotes(&world, 4).await;
    world.arm("venue_drain.before", "kill");
    world.update(&maker.id(), "stop", word()).await.unwrap();
    world.worker_dies().await;
    let terminated = world.temporal(&["workflow", "terminate", "-w", &maker.id(), "--reason", "a test"]).await;
    assert!(terminated.status.success(), "{terminated:?}");
    world.start_worker().await;
    maker.has_quotes(&world, 0).await;
    assert!(matches!(world.end_of(&maker.id()).await, End::Result(_)));
    assert_over(&world, &maker).await;
}

/// The workflows of a tick's intents are started, and can't write anything for several ticks.
#[tokio::test]
async fn what_was_asked_for_and_has_not_begun_is_not_asked_for_again() {
    let world = World::new().await;
    let maker = Maker::of(&world, 250).await;
    let mut owner = world.database.owner().await;
    sqlx::raw_sql("BEGIN; LOCK TABLE intents IN SHARE ROW EXCLUSIVE MODE").execute(&mut owner).await.unwrap();
    maker.start(&world).await;
    maker.ticks_are(&world, "no tick has waited", |ticks| ticks.asked.len() == 4 && ticks.run >= 4).await;
    maker.shows(&world, "quote", "4 intents of an earlier tick have not begun").await;
    sqlx::raw_sql("COMMIT").execute(&mut owner).await.unwrap();
    maker.has_quotes(&world, 4).await;
    maker.ticks_are(&world, "it waits on", |ticks| ticks.asked.is_empty()).await;
    assert_eq!(world.exchange.all_orders().await.len(), 4);
    maker.stop(&world).await;
    assert_over(&world, &maker).await;
}

/// Called off with the stop: they were meant for the market of that time, and for those parameters.
#[tokio::test]
async fn what_has_not_begun_when_it_is_stopped_does_not_begin_with_its_next_start() {
    let world = World::new().await;
    let mut maker = Maker::of(&world, 250).await;
    world.arm("intent_check.before", "hang");
    maker.start(&world).await;
    maker.ticks_are(&world, "no tick has asked", |ticks| ticks.asked.len() == 4).await;
    let asked = maker.ticks(&world).await.asked;
    maker.stop(&world).await;
    maker.input["start_id"] = json!(format!("again-{}", maker.key));
    maker.start(&world).await;
    maker.ticks_are(&world, "no tick has asked again", |ticks| ticks.asked.len() == 4).await;
    world.disarm("intent_check.before");
    for intent in &asked {
        assert!(!matches!(world.end_of(&format!("intent/{}", intent.id())).await.kind(), "done"), "{}", intent.id());
    }
    maker.has_quotes(&world, 4).await;
    assert_eq!(world.exchange.all_orders().await.len(), 4);
    maker.stop(&world).await;
    assert_over(&world, &maker).await;
}

/// Called off after a while, so that nothing comes of them when somebody starts them after all, beside the quotes that a tick
/// has asked for in their place.
#[tokio::test]
async fn what_has_not_begun_in_time_is_called_off_and_asked_for_anew() {
    let mut world = World::new().await;
    let maker = Maker::of(&world, 250).await;
    let mut owner = world.database.owner().await;
    sqlx::raw_sql("BEGIN; LOCK TABLE intents IN SHARE ROW EXCLUSIVE MODE").execute(&mut owner).await.unwrap();
    maker.start(&world).await;
    maker.ticks_are(&world, "no tick has waited", |ticks| ticks.asked.len() == 4 && ticks.run >= 2).await;
    let asked = maker.ticks(&world).await.asked;
    world.kill_worker().await;
    for intent in &asked {
        let id = format!("intent/{}", intent.id());
        let ended = world.temporal(&["workflow", "terminate", "-w", &id, "--reason", "a test"]).await;
        assert!(ended.status.success(), "{ended:?}");
    }
    // What the dead worker still waits for would be written all the same.
    let end = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
                WHERE wait_event_type = 'Lock' AND datname = current_database()";
    sqlx::raw_sql(end).execute(&mut owner).await.unwrap();
    sqlx::raw_sql("COMMIT").execute(&mut owner).await.unwrap();
    world.start_worker().await;
    maker.has_quotes(&world, 4).await;
    let late = format!("intent/{}", asked[0].id());
    world.start_any("ExecuteIntent", &late, &asked[0].intent).await;
    let end = world.end_of(&late).await;
    assert!(matches!(&end, End::Failed(kind, _) if kind == "Abandoned"), "{end:?}");
    let quoted = "SELECT count(*) FILTER (WHERE state = 'abandoned') || ' ' || count(*) FILTER (WHERE state = 'done')
                    FROM intents WHERE content ->> 'strategy_key' = $1";
    let counts: String = sqlx::query_scalar(quoted).bind(&maker.key).fetch_one(&mut owner).await.unwrap();
    assert_eq!(counts, "4 4");
    assert_eq!(world.exchange.all_orders().await.len(), 4);
    maker.stop(&world).await;
    assert_over(&world, &maker).await;
}
