//! Goal: books that were put back to an earlier state do not pay again what they have forgotten, though no workflow may
//! know of it any more.

use backstop::stack::wait_until;
use backstop_tests::{
    Verdict, World,
    exchange::{APPLY, HISTORY},
    servers::Own,
    world::{DEADLINE, payout_id},
};
use serde_json::{Value, json};

const FOUND: &str = "SELECT severity FROM findings WHERE state = 'open' AND kind || ' ' || subject = $1";

async fn with_own_postgres() -> World {
    let mut world = World::without_worker_on(Own { postgres: true, ..Own::default() }).await;
    world.exchange.set(json!({"dedupe": "none"})).await;
    world.start_worker().await;
    world
}

async fn is_paid_once(world: &World, refund: &Value) {
    let id = payout_id(refund);
    assert_eq!(world.verdict(&id).await, Verdict::Paid);
    assert_eq!(world.exchange.withdrawals(&id).await.len(), 1);
    world.books_say(FOUND, &format!("books_lost_payout {id}"), "critical").await;
}

#[tokio::test]
async fn a_refund_that_was_over_before_the_books_were_put_back_is_not_paid_again() {
    let mut world = with_own_postgres().await;
    let refund = world.refund().await;
    world.servers.save_postgres().await;
    assert_eq!(world.run(&refund).await.kind(), "settled");
    world.servers.restore_postgres().await;
    assert_eq!(world.run(&refund).await.kind(), "settled");
    is_paid_once(&world, &refund).await;
    world.servers.stop().await;
}

#[tokio::test]
async fn a_send_that_was_forgotten_after_an_earlier_one_is_not_sent_again() {
    let mut world = with_own_postgres().await;
    let refund = world.refund().await;
    let id = payout_id(&refund);
    world.exchange.fault(APPLY, &id, json!({"fault": "drop"})).await;
    world.arm("venue_confirm.before", "hang");
    world.start(&refund).await;
    world.held_at("venue_confirm.before").await;
    world.arm("venue_submit.before", "hang");
    world.disarm("venue_confirm.before");
    world.held_at("venue_submit.before").await;
    world.servers.save_postgres().await;
    world.arm("venue_submit.sent", "hang");
    world.disarm("venue_submit.before");
    world.held_at("venue_submit.sent").await;
    world.kill_worker().await;
    world.servers.restore_postgres().await;
    world.disarm("venue_submit.sent");
    world.start_worker().await;
    assert_eq!(world.ended(&id).await.kind(), "settled");
    is_paid_once(&world, &refund).await;
    world.servers.stop().await;
}

/// It can't be taken down again while the deposit is lost, too, that paid for it.
#[tokio::test]
async fn a_refund_that_was_lost_with_its_deposit_waits_for_it() {
    let mut world = with_own_postgres().await;
    world.servers.save_postgres().await;
    let refund = world.refund().await;
    let id = payout_id(&refund);
    world.arm("venue_confirm.before", "hang");
    world.start(&refund).await;
    world.held_at("venue_confirm.before").await;
    world.servers.restore_postgres().await;
    world.disarm("venue_confirm.before");
    world.books_say(FOUND, &format!("books_lost_payout {id}"), "critical").await;
    world.shows_failure(&id, "BooksLost").await;
    let user = refund["user_id"].as_str().unwrap();
    let deposit = sqlx::query("SELECT deposit_credit('binance', $1, $1, 'BTC', 1)");
    deposit.bind(user).execute(&mut world.database.worker().await).await.unwrap();
    assert_eq!(world.ended(&id).await.kind(), "settled");
    is_paid_once(&world, &refund).await;
    world.servers.stop().await;
}

#[tokio::test]
async fn an_operators_word_is_taken_on_a_refund_that_the_books_have_lost() {
    let mut world = with_own_postgres().await;
    let mut refund = world.refund().await;
    refund["confirm_timeout_seconds"] = json!(1);
    let id = payout_id(&refund);
    world.servers.save_postgres().await;
    world.exchange.fault(APPLY, &id, json!({"fault": "drop", "times": 100})).await;
    world.arm("venue_confirm.before", "hang");
    world.start(&refund).await;
    world.held_at("venue_confirm.before").await;
    let asked = async || world.status(&id).await.waiting_for.is_some();
    assert!(wait_until(DEADLINE, asked).await, "nobody is asked");
    world.servers.restore_postgres().await;
    let answer = json!({"outcome": "not_executed", "operator": "ann", "evidence": "ticket 1"});
    let early = world.resolve(&id, answer.clone()).await;
    // The attempt's time begins anew: until it is over, nobody's word counts.
    assert!(early.is_err_and(|refused| refused.contains("TooEarly")));
    let taken = async || world.resolve(&id, answer.clone()).await.is_ok();
    assert!(wait_until(DEADLINE, taken).await, "the word is not taken");
    assert_eq!(world.ended(&id).await.kind(), "returned");
    assert_eq!(world.verdict(&id).await, Verdict::Returned);
    world.servers.stop().await;
}

/// Longer ago than what is otherwise looked at, and not over yet.
#[tokio::test]
async fn a_refund_that_was_sent_half_an_hour_before_is_followed_to_its_end() {
    for (state, verdict) in [("completed", Verdict::Paid), ("failed", Verdict::Returned)] {
        let world = World::new().await;
        let refund = world.refund().await;
        let id = payout_id(&refund);
        world.exchange.set(json!({"complete_after_ms": 3_600_000})).await;
        let made = world.exchange.make_behind_our_back(&id, "0.25", 1_800_000).await;
        world.start(&refund).await;
        world.reaches(&id, "attempted").await;
        world.shows_failure(&id, "still on its way").await;
        world.exchange.force(&made, state).await;
        world.ended(&id).await.receipt();
        assert_eq!(world.verdict(&id).await, verdict);
        assert_eq!(world.exchange.requests(APPLY, &id).await, 0);
        let outcome = "SELECT outcome FROM payout_attempts WHERE payout_id = $1";
        world.books_say(outcome, &id, "accepted").await;
    }
}

/// What ends with a failure and leaves nothing behind needs no look of its own.
#[tokio::test]
async fn a_send_that_did_not_leave_is_sent_again_at_once() {
    let world = World::new().await;
    let refund = world.refund().await;
    let id = payout_id(&refund);
    world.exchange.fault(APPLY, &id, json!({"fault": "rate_limited", "times": 3})).await;
    world.arm("venue_confirm.before", "hang");
    world.start(&refund).await;
    world.held_at("venue_confirm.before").await;
    assert_eq!(world.exchange.requests(APPLY, &id).await, 4);
    // One long look and one short one, before the first.
    assert_eq!(world.exchange.all_requests(HISTORY).await.len(), 2);
}
