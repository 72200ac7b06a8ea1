//! Goal: when nobody knows within the time allowed, nothing moves, a person is called, and only the venue's record or that
//! person's recorded word ends it.

use std::time::{Duration, Instant};

use backstop::stack::wait_until;
use backstop_tests::{
    Verdict, World,
    exchange::{APPLY, HISTORY},
    world::{DEADLINE, payout_id},
};
use serde_json::{Value, json};

/// A refund that is not confirmed within its second, and waits for an operator.
async fn unconfirmed(world: &World, fault: Option<Value>) -> String {
    let mut refund = world.refund().await;
    refund["confirm_timeout_seconds"] = json!(1);
    let id = payout_id(&refund);
    match fault {
        Some(fault) => drop(world.exchange.fault(APPLY, &id, fault).await),
        None => world.exchange.set(json!({"complete_after_ms": 600_000})).await,
    }
    world.start(&refund).await;
    world.reaches(&id, "needs_operator").await;
    assert_eq!(world.verdict(&id).await, Verdict::NeedsOperator);
    id
}

fn word(outcome: &str, reference: Option<&str>) -> Value {
    json!({"outcome": outcome, "evidence": "ticket 7", "operator": "ann", "venue_reference": reference})
}

/// Answered by the venue, which is still asked: at once, and by the status query's own account.
#[tokio::test]
async fn an_unconfirmed_refund_says_so_and_still_ends_by_the_venues_record() {
    let world = World::new().await;
    let id = unconfirmed(&world, None).await;
    let status = world.status(&id).await;
    assert!(status.waiting_for.unwrap().contains("Was it paid?"), "the question is missing");
    assert_eq!(open_findings(&world, &id).await, ["payout_unconfirmed"]);
    let made = world.exchange.withdrawals(&id).await;
    world.exchange.force(&made[0].id, "completed").await;
    assert_eq!(world.ended(&id).await.kind(), "settled");
    assert_eq!(world.verdict(&id).await, Verdict::Paid);
    assert_eq!(open_findings(&world, &id).await, [""; 0]);
}

async fn open_findings(world: &World, id: &str) -> Vec<String> {
    let query = sqlx::query_scalar("SELECT kind FROM findings WHERE subject = $1 AND state = 'open'");
    query.bind(id).fetch_all(&mut world.database.owner().await).await.unwrap()
}

#[tokio::test]
async fn an_operator_who_contradicts_the_venues_record_is_refused() {
    let world = World::new().await;
    let id = unconfirmed(&world, None).await;
    for word in [word("not_executed", None), word("executed", Some("w-1"))] {
        let refused = world.resolve(&id, word).await.unwrap_err();
        assert!(refused.contains("still on its way"), "{refused}");
    }
    assert_eq!(world.verdict(&id).await, Verdict::NeedsOperator);
    let made = world.exchange.withdrawals(&id).await;
    world.exchange.force(&made[0].id, "failed").await;
    assert_eq!(world.ended(&id).await.kind(), "returned");
    assert_eq!(world.verdict(&id).await, Verdict::Returned);
}

#[tokio::test]
async fn a_malformed_word_is_refused_by_field_and_an_unasked_one_too() {
    let world = World::new().await;
    let id = unconfirmed(&world, None).await;
    for (input, field) in [
        (json!({"outcome": "maybe", "evidence": "x", "operator": "ann"}), "outcome"),
        (json!({"outcome": "not_executed", "operator": "ann"}), "evidence"),
        (json!({"outcome": "not_executed", "evidence": "x"}), "operator"),
        (json!(["not_executed"]), "input"),
    ] {
        let refused = world.resolve(&id, input).await.unwrap_err();
        assert!(refused.contains(&format!("InvalidInput: {field}: expected")), "{refused}");
    }
    world.exchange.set(json!({"complete_after_ms": 300})).await;
    let made = world.exchange.withdrawals(&id).await;
    world.exchange.force(&made[0].id, "completed").await;
    world.ended(&id).await.receipt();

    world.arm("venue_confirm.before", "hang");
    let busy = world.start(&world.refund().await).await;
    world.reaches(&busy, "attempted").await;
    let refused = world.resolve(&busy, word("not_executed", None)).await.unwrap_err();
    assert!(refused.contains("waiting for no operator"), "{refused}");
    world.disarm("venue_confirm.before");
    world.ended(&busy).await.receipt();
}

/// The exchange accepted it and never shows it: only a person can find out.
fn accepted_and_hidden() -> Value {
    json!({"fault": "hide", "ms": 3_600_000})
}

#[tokio::test]
async fn an_operators_word_ends_what_the_venue_never_shows_but_not_before_its_time() {
    let world = World::new().await;
    let id = unconfirmed(&world, Some(accepted_and_hidden())).await;
    let made = world.exchange.withdrawals(&id).await;
    let mut executed = word("executed", Some(&made[0].id));
    executed["network_fee"] = json!("0.0005");
    let early = world.resolve(&id, executed.clone()).await;
    assert!(early.unwrap_err().contains("TooEarly"), "the attempt was still open");
    let receipt = loop {
        match world.resolve(&id, executed.clone()).await {
            Ok(receipt) => break receipt.unwrap(),
            Err(refused) => assert!(refused.contains("TooEarly"), "{refused}"),
        }
    };
    assert_eq!(world.ended(&id).await.receipt(), receipt);
    assert_eq!(world.verdict(&id).await, Verdict::Paid);
    let acts: Vec<(String, String, String)> =
        sqlx::query_as("SELECT act, operator, evidence FROM operator_acts WHERE subject = $1")
            .bind(&id)
            .fetch_all(&mut world.database.owner().await)
            .await
            .unwrap();
    assert_eq!(acts, [("resolve executed".into(), "ann".into(), "ticket 7".into())]);
}

#[tokio::test]
async fn a_worker_killed_around_the_call_of_an_operator_and_the_answer_changes_nothing() {
    let mut world = World::new().await;
    let mut refund = world.refund().await;
    refund["confirm_timeout_seconds"] = json!(1);
    let id = payout_id(&refund);
    world.exchange.set(json!({"complete_after_ms": 600_000})).await;
    world.arm("payout_escalate.before", "kill");
    world.start(&refund).await;
    world.worker_dies().await;
    world.arm("payout_escalate.after", "kill");
    world.start_worker().await;
    world.worker_dies().await;
    world.start_worker().await;
    world.reaches(&id, "needs_operator").await;
    assert_eq!(world.verdict(&id).await, Verdict::NeedsOperator);
    let made = world.exchange.withdrawals(&id).await;
    world.exchange.force(&made[0].id, "completed").await;
    assert_eq!(world.ended(&id).await.kind(), "settled");
    assert_eq!(world.verdict(&id).await, Verdict::Paid);
}

#[tokio::test]
async fn nothing_was_sent_says_the_operator_and_a_worker_killed_before_taking_it_down_takes_it_later() {
    the_worker_dies_while_it_takes_the_word("venue_resolve.before").await;
}

#[tokio::test]
async fn nothing_was_sent_says_the_operator_and_a_worker_killed_after_taking_it_down_has_taken_it() {
    the_worker_dies_while_it_takes_the_word("venue_resolve.after").await;
}

/// Waits until nothing that was sent can still take effect unseen.
async fn attempts_are_over(world: &World, id: &str) {
    let mut books = world.database.owner().await;
    let over = "SELECT bool_and(void_after < clock_timestamp()) FROM payout_attempts WHERE payout_id = $1";
    let over = wait_until(DEADLINE, async || {
        sqlx::query_scalar::<_, bool>(over).bind(id).fetch_one(&mut books).await.unwrap()
    });
    assert!(over.await, "the attempt's time is not over");
}

async fn the_worker_dies_while_it_takes_the_word(failpoint: &str) {
    let mut world = World::new().await;
    let mut refund = world.refund().await;
    refund["confirm_timeout_seconds"] = json!(1);
    let id = payout_id(&refund);
    // Accepted, but lost by the exchange itself: its record never shows, and it pays nothing.
    world.exchange.fault(APPLY, &id, accepted_and_hidden()).await;
    world.start(&refund).await;
    world.reaches(&id, "needs_operator").await;
    let made = world.exchange.withdrawals(&id).await;
    world.exchange.force(&made[0].id, "cancelled").await;
    attempts_are_over(&world, &id).await;
    world.arm(failpoint, "kill");
    let input = word("not_executed", None).to_string();
    let update = ["workflow", "update", "start", "-w", &id, "--name", "resolve", "--wait-for-stage", "accepted"];
    let taken = world.temporal(&[&update[..], &["--input", &input]].concat()).await;
    assert!(taken.status.success(), "{taken:?}");
    world.worker_dies().await;
    world.start_worker().await;
    assert_eq!(world.ended(&id).await.kind(), "returned");
    assert_eq!(world.verdict(&id).await, Verdict::Returned);
    let acts: i64 = sqlx::query_scalar("SELECT count(*) FROM operator_acts WHERE subject = $1")
        .bind(&id)
        .fetch_one(&mut world.database.owner().await)
        .await
        .unwrap();
    assert_eq!(acts, 1);
}

#[tokio::test]
async fn a_word_taken_on_a_lookup_that_began_too_early_is_refused() {
    let world = World::new().await;
    let mut refund = world.refund().await;
    refund["confirm_timeout_seconds"] = json!(1);
    let id = payout_id(&refund);
    // Executed within the window, its answer lost, shown just before the attempt's time is over.
    let late = json!({"fault": "execute_late", "ms": 900, "hide_ms": 1_500});
    world.exchange.fault(APPLY, &id, late).await;
    let begun = Instant::now();
    world.start(&refund).await;
    world.reaches(&id, "needs_operator").await;
    while begun.elapsed() < Duration::from_millis(1_400) {
        let refused = world.resolve(&id, word("not_executed", None)).await.unwrap_err();
        assert!(refused.contains("TooEarly"), "{refused}");
    }
    // The operator's lookup begins before that, and is answered after it.
    world.exchange.fault_for_all(HISTORY, json!({"fault": "delay_answer", "ms": 1_400, "times": 3})).await;
    let refused = world.resolve(&id, word("not_executed", None)).await.unwrap_err();
    assert!(["TooEarly", "Contradicted"].iter().any(|kind| refused.contains(kind)), "{refused}");
    assert_eq!(world.ended(&id).await.kind(), "settled");
    assert_eq!(world.verdict(&id).await, Verdict::Paid);
}

/// What the venue showed a while ago is good enough for a payout that waits, but not against a person who knows better.
#[tokio::test]
async fn a_word_is_held_against_what_the_venue_says_now() {
    let world = World::with(&[("BACKSTOP_VENUE_POLL_MAX_MS", "90000")]).await;
    let id = unconfirmed(&world, None).await;
    attempts_are_over(&world, &id).await;
    let polls = world.exchange.all_requests(HISTORY).await.len();
    assert_eq!(polls, 2, "the lookups made do with the ones before the send");
    let made = world.exchange.withdrawals(&id).await;
    world.exchange.force(&made[0].id, "failed").await;
    let receipt = world.resolve(&id, word("not_executed", None)).await.unwrap();
    assert_eq!(world.ended(&id).await.receipt(), receipt.unwrap());
    assert_eq!(world.verdict(&id).await, Verdict::Returned);
}
