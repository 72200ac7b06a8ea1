//! Goal: a payout that is halted waits, is paid once when the halt is lifted, and comes back when it is cancelled; and the
//! operator is told what is in force.

use backstop_tests::{Verdict, World, exchange::APPLY, world::payout_id};

#[tokio::test]
async fn a_halted_payout_waits_and_is_paid_once_when_it_is_resumed() {
    let world = World::new().await;
    let halt = ["halt", "--venue", "binance", "--payouts", "--reason", "the exchange is odd", "--by", "olga"];
    let said = world.backstop(&halt).await.unwrap();
    assert!(said.contains("venue/binance is halted"), "{said}");
    assert!(said.contains("may still reach a venue"), "{said}");
    assert!(said.contains("orders and payouts") && said.contains("by olga: the exchange is odd"), "{said}");
    assert!(said.contains("No order and no payout is let through"), "{said}");
    let (paid, cancelled) = (world.refund().await, world.refund().await);
    let ids = [world.start(&paid).await, world.start(&cancelled).await];
    for id in &ids {
        world.shows_failure(id, "venue/binance is halted by olga: the exchange is odd").await;
        world.reaches(id, "opened").await;
    }
    assert!(world.temporal(&["workflow", "cancel", "-w", &ids[1]]).await.status.success());
    assert_eq!(world.ended(&ids[1]).await.kind(), "cancelled");
    assert_eq!(world.exchange.all_requests(APPLY).await.len(), 0);
    let said =
        world.backstop(&["resume", "--venue", "binance", "--reason", "it is fine", "--by", "olga"]).await.unwrap();
    assert!(said.contains("No halt is in force."), "{said}");
    assert_eq!(world.ended(&ids[0]).await.receipt().state.name(), "settled");
    assert_eq!(world.verdict(&payout_id(&paid)).await, Verdict::Paid);
    assert_eq!(world.verdict(&payout_id(&cancelled)).await, Verdict::Abandoned);
    assert_eq!(world.exchange.requests(APPLY, &ids[0]).await, 1);
}

/// Whoever halts orders only is told what goes on, and finds the halt again without halting anything.
#[tokio::test]
async fn a_halt_says_that_payouts_go_out_and_is_shown_later() {
    let world = World::without_worker().await;
    assert_eq!(world.backstop(&["halts"]).await.unwrap(), "No halt is in force.\n");
    let said = world.backstop(&["halt", "--all", "--reason", "fire", "--by", "olga"]).await.unwrap();
    assert!(said.contains("PAYOUTS STILL GO OUT"), "{said}");
    let said = world.backstop(&["halts"]).await.unwrap();
    assert!(said.contains("all: orders, since ") && said.contains(", by olga: fire"), "{said}");
    let said = world.backstop(&["halt", "--all", "--payouts", "--reason", "fire", "--by", "olga"]).await.unwrap();
    assert!(!said.contains("PAYOUTS STILL GO OUT"), "{said}");
}

/// What was sent before a halt is looked up and settled all the same.
#[tokio::test]
async fn a_payout_that_is_out_is_confirmed_while_everything_is_halted() {
    let world = World::new().await;
    world.exchange.set(serde_json::json!({"complete_after_ms": 3_600_000})).await;
    let refund = world.refund().await;
    let id = world.start(&refund).await;
    world.reaches(&id, "attempted").await;
    let halted = world.backstop(&["halt", "--all", "--payouts", "--reason", "fire"]).await.unwrap();
    assert!(halted.contains("all is halted"), "{halted}");
    let withdrawal = backstop::stack::wait_until(backstop_tests::world::DEADLINE, async || {
        world.exchange.withdrawals(&id).await.len() == 1
    });
    assert!(withdrawal.await, "it was let through before");
    let made = world.exchange.withdrawals(&id).await[0].id.clone();
    world.exchange.force(&made, "completed").await;
    assert_eq!(world.ended(&id).await.receipt().state.name(), "settled");
    assert_eq!(world.verdict(&id).await, Verdict::Paid);
}

#[tokio::test]
async fn the_command_line_says_what_is_wrong_and_shows_and_sets_the_pace() {
    let world = World::without_worker().await;
    for (words, says) in [
        (&["halt", "--reason", "x"][..], "--venue"),
        (&["halt", "--all", "--venue", "binance", "--reason", "x"], "cannot be used with"),
        (&["halt", "--strategy", "mm-9", "--payouts", "--reason", "x"], "cannot be used with"),
        (&["halt", "--all"], "--reason"),
        (&["halt", "--all", "--reason", " "], "reason: expected why"),
        (&["halt", "--strategy", "mm-9", "--reason", "x"], "there is no strategy mm-9"),
        (&["resume", "--venue", "kraken", "--reason", "x"], "one of the known venues: binance"),
        (&["pace", "--venue", "binance"], "--min-interval-ms"),
        (&["pace", "--venue", "kraken", "--min-interval-ms", "50"], "one of the known venues: binance"),
    ] {
        let said = world.backstop(words).await.unwrap_err();
        assert!(said.contains(says), "{words:?}: {said}");
    }
    assert_eq!(world.backstop(&["pace"]).await.unwrap(), "binance: not paced\n");
    let set = world.backstop(&["pace", "--venue", "binance", "--min-interval-ms", "75"]).await.unwrap();
    assert_eq!(set, "binance: one call in 75 ms\n");
    let again = world.backstop(&["resume", "--all", "--reason", "x"]).await.unwrap();
    assert_eq!(again, "all was not halted by itself; nothing has changed.\nNo halt is in force.\n");
    let strategy = world.strategy().await.key;
    let said = world.backstop(&["halt", "--strategy", &strategy, "--reason", "x"]).await.unwrap();
    assert!(said.contains(&format!("strategy/{strategy}: orders, since ")), "{said}");
}
