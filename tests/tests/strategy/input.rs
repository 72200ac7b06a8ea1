//! Goal: what can never work is refused at once, by name.

use backstop::stack::wait_until;
use backstop_tests::{World, operations::End, world::DEADLINE};
use serde_json::{Value, json};

use crate::{Maker, word};

/// Where the exchange tells its markets.
const RULES: &str = "/api/v3/exchangeInfo";

#[tokio::test]
async fn a_wrong_start_fails_at_once_and_changes_nothing() {
    let world = World::new().await;
    for (field, value) in [
        ("pair", json!("BTC")),
        (
            "parameters",
            json!({"spread_bps": 0, "order_size": "1", "layers": 1, "layer_step_bps": 1, "refresh_tolerance_bps": 1}),
        ),
        ("tick_ms", json!("often")),
        ("venue", json!("nowhere")),
        ("start_id", Value::Null),
    ] {
        let mut maker = Maker::of(&world, 500).await;
        maker.input[field] = value;
        let end = world.run_any("RunStrategy", &maker.id(), &maker.input).await;
        let End::Failed(kind, message) = end else { panic!("{field}: {end:?}") };
        assert_eq!(kind, "InvalidInput", "{field}: {message}");
        assert!(message.starts_with(field), "{field}: {message}");
    }
    let strategies: i64 = sqlx::query_scalar("SELECT count(*) FROM strategies")
        .fetch_one(&mut world.database.owner().await)
        .await
        .unwrap();
    assert_eq!(strategies, 0);
}

/// Also when the venue can't be asked at once. Nothing is refused for that.
#[tokio::test]
async fn a_pair_that_the_venue_does_not_list_is_refused_and_never_started() {
    let world = World::new().await;
    let mut ghost = Maker::of(&world, 500).await;
    ghost.input["pair"] = json!("XRP/USDT");
    world.exchange.fault_for_all(RULES, json!({"fault": "drop", "times": 2})).await;
    let end = world.run_any("RunStrategy", &ghost.id(), &ghost.input).await;
    let End::Failed(kind, message) = end else { panic!("{end:?}") };
    assert_eq!(kind, "InvalidInput", "{message}");
    assert!(message.starts_with("pair: ") && message.contains("XRP/USDT"), "{message}");
    let strategies = sqlx::query_scalar("SELECT count(*) FROM strategies");
    let strategies: i64 = strategies.fetch_one(&mut world.database.owner().await).await.unwrap();
    assert_eq!(strategies, 0);
}

/// Nor does it start later.
#[tokio::test]
async fn one_whose_venue_does_not_answer_can_be_stopped_before_it_is_started() {
    let world = World::new().await;
    let maker = Maker::of(&world, 500).await;
    world.exchange.fault_for_all(RULES, json!({"fault": "drop", "probability": 1})).await;
    maker.start(&world).await;
    let asked = async || world.status_of(&maker.id()).await.steps.iter().any(|step| step.step == "look the pair up");
    assert!(wait_until(DEADLINE, asked).await);
    let End::Result(report) = maker.stop(&world).await else { panic!("not stopped") };
    assert_eq!(report["ended"], "it was stopped before it was started");
}

/// It has orders that somebody has to follow.
#[tokio::test]
async fn a_start_that_the_books_know_goes_on_whatever_the_venue_lists() {
    let world = World::new().await;
    let maker = Maker::of(&world, 500).await;
    maker.start(&world).await;
    maker.ticks_are(&world, "it does not tick", |ticks| ticks.run > 0).await;
    world.exchange.fault_for_all(RULES, json!({"fault": "drop", "probability": 1})).await;
    world.temporal(&["workflow", "terminate", "-w", &maker.id(), "--reason", "a test"]).await;
    maker.start(&world).await;
    maker.ticks_are(&world, "it does not tick again", |ticks| ticks.run > 0).await;
    maker.stop(&world).await;
}

#[tokio::test]
async fn a_word_without_a_name_or_a_reason_is_refused() {
    let world = World::new().await;
    let maker = Maker::of(&world, 500).await;
    maker.start(&world).await;
    maker.ticks_are(&world, "it does not tick", |ticks| ticks.run > 0).await;
    for update in ["stop", "pause", "resume"] {
        for (word, named) in
            [(json!({"operator": "olga"}), "reason"), (json!({"reason": "r"}), "operator"), (json!(3), "input")]
        {
            let refused = world.update(&maker.id(), update, word).await.unwrap_err();
            assert!(refused.contains(&format!("InvalidInput: {named}")), "{update}: {refused}");
        }
    }
    world.update(&maker.id(), "stop", word()).await.unwrap();
    world.end_of(&maker.id()).await;
}

#[tokio::test]
async fn a_strategy_is_run_by_one_start_at_a_time() {
    let world = World::new().await;
    let maker = Maker::of(&world, 500).await;
    maker.start(&world).await;
    maker.ticks_are(&world, "it does not tick", |ticks| ticks.run > 0).await;
    let other = format!("strategy/{}-again", maker.key);
    let End::Failed(kind, _) = world.run_any("RunStrategy", &other, &maker.input).await else { panic!("held by two") };
    assert_eq!(kind, "Held");
    let mut second = maker.input.clone();
    second["start_id"] = json!("another");
    let End::Failed(kind, _) = world.run_any("RunStrategy", &other, &second).await else { panic!("started twice") };
    assert_eq!(kind, "NotAllowed");
    maker.stop(&world).await;
}
