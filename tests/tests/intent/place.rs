//! Goal: an intent places its order once, with its id, and every other end leaves nothing behind.

use backstop_tests::{
    End, World,
    intents::{ORDER, intent_workflow, order_of},
};
use serde_json::json;

use crate::{Agreed, agreed, assert_sound, reason};

#[tokio::test]
async fn an_order_is_reserved_placed_and_recorded() {
    let world = World::new().await;
    let strategy = world.strategy().await;
    let intent = world.intent(&strategy, "sell", "120000", "0.7");
    let id = intent_workflow(&intent);
    let end = world.run_any("ExecuteIntent", &id, &intent).await;
    let End::Result(receipt) = &end else { panic!("{end:?}") };
    let order = world.exchange.order(&order_of(&intent)).await;
    assert_eq!(receipt["state"], "done");
    assert_eq!((&receipt["order_id"], &receipt["venue_order_id"]), (&json!(order_of(&intent)), &order["id"]));
    assert_eq!((&order["price"], &order["qty"], &order["state"]), (&json!("120000"), &json!("0.7"), &json!("NEW")));
    assert_eq!(agreed(&world, &intent).await, Agreed::Placed);
    assert_eq!(world.holds(&strategy.user, "BTC").await, "0.3 + 0.7");
    let steps: Vec<String> = world.status_of(&id).await.steps.into_iter().map(|step| step.step).collect();
    assert_eq!(
        steps,
        [
            "look into the books",
            "read the venue's rules",
            "take a ticket",
            "pass the gates",
            "set the funds aside",
            "place the order",
            "record the order"
        ]
    );
    let summaries = world.summaries(&id).await;
    assert!(summaries.iter().all(|summary| summary.split(' ').count() > 3), "{summaries:?}");
    // Started again, it answers with the same, and nothing is sent.
    assert_eq!(world.run_any("ExecuteIntent", &id, &intent).await, end);
    assert_eq!(world.run_any("ExecuteIntent", "another", &intent).await, end);
    assert_eq!(world.exchange.sends(&order_of(&intent)).await, 1);
}

#[tokio::test]
async fn started_twice_at_once_under_two_ids_it_is_placed_once() {
    let world = World::new().await;
    let strategy = world.strategy().await;
    let intent = world.intent(&strategy, "buy", "50000", "0.1");
    futures::join!(world.start_any("ExecuteIntent", "one", &intent), world.start_any("ExecuteIntent", "two", &intent));
    let ends = futures::join!(world.end_of("one"), world.end_of("two"));
    let kinds = [ends.0.kind(), ends.1.kind()];
    assert!(kinds.contains(&"done") && kinds.iter().all(|kind| ["done", "Held"].contains(kind)), "{kinds:?}");
    assert_eq!(agreed(&world, &intent).await, Agreed::Placed);
    assert_eq!(world.exchange.sends(&order_of(&intent)).await, 1);
    assert_eq!(world.holds(&strategy.user, "USDT").await, "5000 + 5000");
}

#[tokio::test]
async fn what_the_venue_refuses_fails_with_its_reason_and_frees_the_funds() {
    let world = World::new().await;
    let strategy = world.strategy().await;
    // It would take at once, which a post-only order must not.
    let mut intent = world.intent(&strategy, "sell", "90000", "0.7");
    intent["post_only"] = json!(true);
    let id = intent_workflow(&intent);
    let end = world.run_any("ExecuteIntent", &id, &intent).await;
    assert_eq!(end.kind(), "failed");
    assert!(reason(&end).contains("-2010"), "{end:?}");
    assert_eq!(agreed(&world, &intent).await, Agreed::Nothing);
    assert_eq!(world.holds(&strategy.user, "BTC").await, "1 + 0");
    assert_eq!(world.run_any("ExecuteIntent", &id, &intent).await, end);
    assert_eq!(world.exchange.sends(&order_of(&intent)).await, 1);
}

#[tokio::test]
async fn an_order_that_trades_at_once_is_done_when_the_venue_has_it() {
    let world = World::new().await;
    let strategy = world.strategy().await;
    let mut intent = world.intent(&strategy, "sell", "90000", "0.01");
    intent["time_in_force"] = json!("IOC");
    assert_eq!(world.run_any("ExecuteIntent", &intent_workflow(&intent), &intent).await.kind(), "done");
    assert_eq!(world.exchange.order(&order_of(&intent)).await["state"], "FILLED");
    assert_eq!(agreed(&world, &intent).await, Agreed::Placed);
}

#[tokio::test]
async fn for_what_is_not_there_no_order_is_sent() {
    let world = World::new().await;
    let strategy = world.strategy().await;
    let intent = world.intent(&strategy, "sell", "120000", "1.1");
    let end = world.run_any("ExecuteIntent", &intent_workflow(&intent), &intent).await;
    assert_eq!(end.kind(), "failed");
    assert!(reason(&end).contains("1 BTC available, 1.1 needed"), "{end:?}");
    assert_eq!(agreed(&world, &intent).await, Agreed::Nothing);
    assert_eq!(world.exchange.all_requests(ORDER).await.len(), 0);
    // The next intent of the strategy is not held up by that.
    let next = world.intent(&strategy, "sell", "120000", "1");
    assert_eq!(world.run_any("ExecuteIntent", &intent_workflow(&next), &next).await.kind(), "done");
}

#[tokio::test]
async fn intents_of_a_stopped_strategy_are_cancelled_not_run() {
    let world = World::new().await;
    let strategy = world.strategy().await;
    let waiting = world.intent(&strategy, "sell", "120000", "0.1");
    let claimed = world.intent(&strategy, "sell", "121000", "0.1");
    let sending = world.strategy_of(&strategy.user).await;
    let sent = world.intent(&sending, "sell", "122000", "0.1");
    world.arm("intent_reserve.before", "hang");
    world.start_any("ExecuteIntent", &intent_workflow(&claimed), &claimed).await;
    world.intent_is(&claimed, "claimed").await;
    world.start_any("ExecuteIntent", &intent_workflow(&waiting), &waiting).await;
    world.intent_is(&waiting, "waiting").await;
    world.stop_strategy(&strategy).await;
    let late = world.intent(&strategy, "sell", "123000", "0.1");
    assert_eq!(world.run_any("ExecuteIntent", &intent_workflow(&late), &late).await.kind(), "cancelled");
    world.disarm("intent_reserve.before");
    for intent in [&claimed, &waiting, &late] {
        let end = world.end_of(&intent_workflow(intent)).await;
        assert_eq!(end.kind(), "cancelled");
        assert!(reason(&end).contains("is stopped"), "{end:?}");
        assert_eq!(agreed(&world, intent).await, Agreed::Nothing);
    }
    // Stopped at the very last moment before the send.
    world.arm("venue_place.before", "hang");
    world.start_any("ExecuteIntent", &intent_workflow(&sent), &sent).await;
    world.held_at("venue_place.before").await;
    world.stop_strategy(&sending).await;
    world.disarm("venue_place.before");
    assert_eq!(world.end_of(&intent_workflow(&sent)).await.kind(), "cancelled");
    assert_eq!(agreed(&world, &sent).await, Agreed::Nothing);
    let asked = world.exchange.all_requests(ORDER).await;
    assert!(asked.iter().all(|request| request["method"] == "GET"), "{asked:#?}");
    assert_eq!(world.holds(&strategy.user, "BTC").await, "1 + 0");
}

#[tokio::test]
async fn intents_under_a_halt_are_cancelled_and_cancels_pass() {
    let world = World::new().await;
    let strategy = world.strategy().await;
    let placed = world.intent(&strategy, "sell", "120000", "0.2");
    assert_eq!(world.run_any("ExecuteIntent", &intent_workflow(&placed), &placed).await.kind(), "done");
    let sending = world.intent(&strategy, "sell", "121000", "0.1");
    world.arm("venue_place.before", "hang");
    world.start_any("ExecuteIntent", &intent_workflow(&sending), &sending).await;
    world.held_at("venue_place.before").await;
    world.backstop(&["halt", "--venue", "binance", "--reason", "a test", "--by", "olga"]).await.unwrap();
    world.disarm("venue_place.before");
    let late = world.intent(&strategy, "sell", "122000", "0.1");
    world.start_any("ExecuteIntent", &intent_workflow(&late), &late).await;
    for intent in [&sending, &late] {
        let end = world.end_of(&intent_workflow(intent)).await;
        assert_eq!(end.kind(), "cancelled", "{end:?}");
        assert!(reason(&end).contains("halted by olga"), "{end:?}");
        assert_eq!(agreed(&world, intent).await, Agreed::Nothing);
    }
    let cancel = world.cancel_intent(&strategy, &placed);
    assert_eq!(world.run_any("ExecuteIntent", &intent_workflow(&cancel), &cancel).await.kind(), "done");
    assert_eq!(world.holds(&strategy.user, "BTC").await, "1 + 0");
    assert_sound(&world).await;
}

#[tokio::test]
async fn cancelled_before_the_send_it_leaves_nothing_and_after_it_the_order_is_recorded() {
    let mut world = World::without_worker().await;
    // However long the send is held, the venue would still take it.
    world.receive_window_ms = 20_000;
    world.start_worker().await;
    for (point, agreement) in [
        ("intent_open.after", Agreed::Nothing),
        ("gate_wait.before", Agreed::Nothing),
        ("venue_place.before", Agreed::Nothing),
        ("venue_place.recorded", Agreed::Placed),
        ("intent_finish.before", Agreed::Placed),
    ] {
        let strategy = world.strategy().await;
        let intent = world.intent(&strategy, "sell", "120000", "0.7");
        let id = intent_workflow(&intent);
        world.arm(point, "hang");
        world.start_any("ExecuteIntent", &id, &intent).await;
        world.held_at(point).await;
        assert!(world.temporal(&["workflow", "cancel", "-w", &id]).await.status.success());
        if point == "venue_place.before" {
            // Only so is the send what waits: the undo has been before it.
            assert_eq!(world.end_of(&id).await, End::Cancelled);
        }
        world.disarm(point);
        let end = world.end_of(&id).await;
        let expected = if agreement == Agreed::Placed { "done" } else { "cancelled" };
        assert_eq!(end.kind(), expected, "{point}");
        assert_eq!(agreed(&world, &intent).await, agreement, "{point}");
    }
    assert_sound(&world).await;
}

/// Every order is recorded before it is sent: one that is not there was lost by the books.
#[tokio::test]
async fn an_open_order_that_the_books_do_not_know_is_a_critical_finding() {
    let world = World::watched().await;
    let strategy = world.strategy().await;
    let known = world.place(&strategy, "sell", "120000", "0.1", true).await;
    let unknown = world.place_behind_the_books("sell", "121000", "0.1").await;
    let found = "SELECT severity FROM findings WHERE state = 'open' AND kind || ' ' || subject = $1";
    world.books_say(found, &format!("order_without_record order/{unknown}"), "critical").await;
    let about_known = "SELECT count(*)::text FROM findings WHERE subject = $1";
    world.books_say(about_known, &format!("order/{known}"), "0").await;
}
