//! Goal: an intent takes effect once, for the strategy it belongs to, and sets aside exactly while its order may live.

use backstop::stack::wait_until;
use backstop_domain::{RefusalKind, machine::IntentState};

use crate::{
    desk::{ASKED_NOW, DEADLINE, Desk, HOLDER, LONG, SHORT, assert_refused},
    stock::{STRATEGY, cancel_intent, intent_with, place_intent},
};

impl Desk {
    /// Opens an intent to sell 0.1 BTC, passes the gates with it, and sets the funds aside.
    async fn reserved(&self, name: &str) -> String {
        let intent = place_intent(name);
        self.books.intent_open(&intent, HOLDER).await.unwrap();
        assert!(self.books.intent_claim(name, HOLDER).await.unwrap().claimed);
        let receipt = self.books.intent_reserve(name, HOLDER).await.unwrap();
        assert_eq!(receipt.order_state.as_deref(), Some("opened"));
        intent.order_id()
    }

    /// The same, and its order has been sent.
    async fn sent_for(&self, name: &str) -> String {
        let order_id = self.reserved(name).await;
        self.books.order_attempt(&order_id, HOLDER, SHORT, LONG).await.unwrap();
        order_id
    }

    /// How often all intents were read; and those that are not over, by their index.
    async fn intents_read(&mut self) -> (i64, i64) {
        let sql = "SELECT (SELECT seq_scan FROM pg_stat_user_tables WHERE relname = 'intents'),
                          (SELECT idx_scan FROM pg_stat_user_indexes WHERE indexrelname = 'intents_unfinished')";
        sqlx::query_as(sql).fetch_one(&mut self.owner).await.unwrap()
    }

    async fn processed(&mut self) -> Vec<String> {
        self.texts("SELECT concat_ws(' ', consumer, key) FROM receipts ORDER BY at").await
    }
}

#[tokio::test]
async fn an_intent_is_what_its_strategy_is_and_the_same_each_time() {
    let mut desk = Desk::trading().await;
    let before = desk.everything().await;
    for (field, wrong, kind, says) in [
        ("strategy_key", "mm-9", RefusalKind::NotFound, ("subject", "mm-9")),
        ("user_id", "bob", RefusalKind::InvalidInput, ("field", "user_id")),
        ("venue", "kraken", RefusalKind::InvalidInput, ("field", "venue")),
        ("pair", "ETH/USDT", RefusalKind::InvalidInput, ("field", "pair")),
    ] {
        let intent = intent_with("i-1", field, wrong);
        assert_refused(desk.books.intent_check(&intent, HOLDER).await, kind, says.0, says.1);
        assert_refused(desk.books.intent_open(&intent, HOLDER).await, kind, says.0, says.1);
    }
    let nothing = cancel_intent("i-1", "i-0", STRATEGY);
    let refused = desk.books.intent_open(&nothing, HOLDER).await;
    assert_refused(refused, RefusalKind::InvalidInput, "field", "order_intent_id");
    let check = desk.books.intent_check(&place_intent("i-1"), HOLDER).await.unwrap();
    assert_eq!((check.state, check.ticket), (IntentState::Absent, None));
    assert_eq!(desk.everything().await, before);
    let first = desk.books.intent_open(&place_intent("i-1"), HOLDER).await.unwrap();
    let after = desk.everything().await;
    assert_eq!(desk.books.intent_open(&place_intent("i-1"), HOLDER).await.unwrap(), first);
    assert_eq!(desk.books.intent_check(&place_intent("i-1"), HOLDER).await.unwrap(), first);
    let dearer = desk.books.intent_open(&intent_with("i-1", "price", "30001"), HOLDER).await;
    assert_refused(dearer, RefusalKind::Conflict, "field", "price");
    let other = desk.books.intent_open(&place_intent("i-1"), "workflow-2").await;
    assert_refused(other, RefusalKind::Held, "holder", HOLDER);
    assert_refused(desk.books.intent_claim("i-1", "workflow-2").await, RefusalKind::Held, "holder", HOLDER);
    assert_eq!(desk.everything().await, after);
    // Once it is over, everybody hears how.
    desk.books.intent_fail("i-1", HOLDER, "enough").await.unwrap();
    let told = desk.books.intent_open(&place_intent("i-1"), "workflow-2").await.unwrap();
    assert_eq!((told.state, told.reason.as_deref()), (IntentState::Failed, Some("enough")));
    desk.assert_sound().await;
}

#[tokio::test]
async fn the_order_and_that_it_is_processed_are_one_commit() {
    let mut desk = Desk::trading().await;
    let order_id = desk.sent_for("i-1").await;
    assert_eq!((desk.has("alice", "BTC").await.as_str(), desk.processed().await.len()), ("1.9 + 0.1", 0));
    let done = desk.books.intent_finish("i-1", HOLDER, Some("v-1"), None).await.unwrap();
    let told = (done.state, done.order_state.as_deref(), done.venue_order_id.as_deref());
    assert_eq!(told, (IntentState::Done, Some("placed"), Some("v-1")));
    assert_eq!(desk.processed().await, ["ExecuteIntent i-1"]);
    assert_eq!(desk.books.intent_finish("i-1", HOLDER, Some("v-1"), None).await.unwrap(), done);
    assert!(!desk.books.intent_claim("i-1", HOLDER).await.unwrap().claimed, "processed again");
    assert_eq!(desk.order_state(&order_id).await, "placed");
    assert_eq!(desk.findings().await, Vec::<String>::new().as_slice());
    desk.assert_sound().await;
}

#[tokio::test]
async fn a_void_order_gives_its_funds_back_in_the_commit_that_fails_its_intent() {
    let mut desk = Desk::trading().await;
    desk.sent_for("rejected").await;
    let early = desk.books.intent_void("rejected", HOLDER, ASKED_NOW, false, "not found").await.unwrap();
    assert_eq!((early.state, early.order_state.as_deref()), (IntentState::Claimed, Some("attempted")));
    assert_eq!(desk.has("alice", "BTC").await, "1.9 + 0.1");
    let failed = desk.books.intent_void("rejected", HOLDER, 0, true, "refused").await.unwrap();
    assert_eq!((failed.state, failed.order_state.as_deref()), (IntentState::Failed, Some("void")));
    assert_eq!(failed.reason.as_deref(), Some("refused"));
    assert_eq!(desk.has("alice", "BTC").await, "2 + 0");
    // Somebody else, as a drain, has found it at the venue: then it is no reason to fail.
    let order_id = desk.sent_for("found").await;
    desk.books.order_place(&order_id, "v-2").await.unwrap();
    let found = desk.books.intent_void("found", HOLDER, 0, true, "refused").await.unwrap();
    assert_eq!((found.state, found.order_state.as_deref()), (IntentState::Claimed, Some("placed")));
    desk.books.intent_finish("found", HOLDER, Some("v-2"), None).await.unwrap();
    desk.assert_sound().await;
}

#[tokio::test]
async fn what_was_not_sent_may_be_tried_again_and_ends_with_its_intent() {
    let mut desk = Desk::trading().await;
    let order_id = desk.reserved("i-1").await;
    for _ in 0..2 {
        let slot = desk.books.order_attempt(&order_id, HOLDER, SHORT, LONG).await.unwrap();
        let signed_at_ms = slot.granted().unwrap();
        assert!(desk.books.order_not_sent(&order_id, HOLDER, signed_at_ms, "429").await.unwrap());
    }
    assert_eq!(desk.order_state(&order_id).await, "opened");
    let failed = desk.books.intent_fail("i-1", HOLDER, "not sent").await.unwrap();
    assert_eq!((failed.state, failed.order_state.as_deref()), (IntentState::Failed, Some("abandoned")));
    assert_eq!(desk.has("alice", "BTC").await, "2 + 0");
    // Nothing of it comes to life again.
    let late = desk.books.order_attempt(&order_id, HOLDER, SHORT, LONG).await;
    assert_refused(late, RefusalKind::Abandoned, "reason", "not sent");
    assert_eq!(desk.books.intent_reserve("i-1", HOLDER).await.unwrap(), failed);
    assert_eq!(desk.has("alice", "BTC").await, "2 + 0");
    desk.assert_sound().await;
}

#[tokio::test]
async fn an_intent_whose_order_may_be_at_the_venue_is_not_undone() {
    let mut desk = Desk::trading().await;
    let order_id = desk.sent_for("i-1").await;
    let before = desk.everything().await;
    for undone in [
        desk.books.intent_fail("i-1", HOLDER, "enough").await,
        desk.books.intent_cancel("i-1", HOLDER, "enough").await,
        desk.books.intent_abandon(&place_intent("i-1"), HOLDER, true, "enough").await,
    ] {
        assert_refused(undone, RefusalKind::TooLate, "state", "attempted");
    }
    assert_eq!(desk.everything().await, before);
    desk.books.order_place(&order_id, "v-1").await.unwrap();
    assert_refused(desk.books.intent_fail("i-1", HOLDER, "enough").await, RefusalKind::TooLate, "state", "placed");
}

#[tokio::test]
async fn an_undo_that_overtook_its_intent_keeps_it_out_for_ever() {
    let mut desk = Desk::trading().await;
    for intent in [place_intent("i-1"), intent_with("i-2", "strategy_key", "mm-9")] {
        let undone = desk.books.intent_abandon(&intent, HOLDER, true, "cancelled").await.unwrap();
        assert_eq!(undone.state, IntentState::Abandoned);
        assert_eq!(desk.books.intent_abandon(&intent, HOLDER, true, "cancelled").await.unwrap(), undone);
        let late = desk.books.intent_open(&intent, HOLDER).await;
        assert_refused(late, RefusalKind::Abandoned, "reason", "cancelled");
        let late = desk.books.intent_claim(intent.intent_id.as_str(), HOLDER).await;
        assert_refused(late, RefusalKind::Abandoned, "reason", "cancelled");
    }
    desk.assert_sound().await;
}

#[tokio::test]
async fn intents_to_trade_are_cancelled_with_their_strategy_and_cancels_are_not() {
    let mut desk = Desk::trading().await;
    for name in ["claimed", "waiting", "restarted"] {
        desk.books.intent_open(&place_intent(name), HOLDER).await.unwrap();
    }
    assert!(desk.books.intent_claim("claimed", HOLDER).await.unwrap().claimed);
    desk.stop(STRATEGY).await.unwrap();
    let stopped = desk.books.intent_open(&place_intent("late"), HOLDER).await.unwrap();
    assert_eq!((stopped.state, stopped.reason), (IntentState::Cancelled, Some("strategy mm-1 is stopped".into())));
    let reserve = desk.books.intent_reserve("claimed", HOLDER).await;
    assert_refused(reserve, RefusalKind::NotAllowed, "state", "stopped");
    // One that holds a claim may be about to trade, should somebody start the strategy again.
    assert_eq!(desk.books.strategy_open_ends(STRATEGY).await.unwrap(), ["intent claimed is in flight"]);
    desk.books.intent_cancel("claimed", HOLDER, "the strategy is stopped").await.unwrap();
    assert_eq!(desk.books.strategy_open_ends(STRATEGY).await.unwrap(), Vec::<String>::new());
    let claim = desk.books.intent_claim("waiting", HOLDER).await.unwrap();
    assert_eq!((claim.claimed, claim.state), (false, IntentState::Cancelled));
    desk.books.intent_open(&cancel_intent("cancel", "claimed", STRATEGY), HOLDER).await.unwrap();
    desk.start(STRATEGY).await.unwrap();
    // Meant for the strategy as it was before it was stopped.
    let claim = desk.books.intent_claim("restarted", HOLDER).await.unwrap();
    assert_eq!((claim.state, claim.why.as_deref()), (IntentState::Cancelled, Some("strategy mm-1 was stopped")));
    desk.stop(STRATEGY).await.unwrap();
    assert!(desk.books.intent_claim("cancel", HOLDER).await.unwrap().claimed);
    desk.books.intent_finish("cancel", HOLDER, None, None).await.unwrap();
    assert_eq!(desk.has("alice", "BTC").await, "2 + 0");
    desk.assert_sound().await;
}

/// Its worker was away while the strategy was stopped and started again: what it claimed for was another market.
#[tokio::test]
async fn one_that_holds_its_claim_through_a_stop_and_a_start_is_not_sent() {
    let mut desk = Desk::trading().await;
    for reserved in [false, true] {
        let name = if reserved { "reserved" } else { "claimed" };
        desk.books.intent_open(&place_intent(name), HOLDER).await.unwrap();
        assert!(desk.books.intent_claim(name, HOLDER).await.unwrap().claimed);
        if reserved {
            desk.books.intent_reserve(name, HOLDER).await.unwrap();
        }
        desk.stop(STRATEGY).await.unwrap();
        desk.start(STRATEGY).await.unwrap();
        let subject = format!("intent/{name}");
        if reserved {
            let order_id = place_intent(name).order_id();
            let attempt = desk.books.order_attempt(&order_id, HOLDER, SHORT, LONG).await;
            assert_refused(attempt, RefusalKind::NotAllowed, "subject", &subject);
        } else {
            let reserve = desk.books.intent_reserve(name, HOLDER).await;
            assert_refused(reserve, RefusalKind::NotAllowed, "subject", &subject);
        }
        desk.books.intent_cancel(name, HOLDER, "the strategy was stopped").await.unwrap();
    }
    assert_eq!(desk.has("alice", "BTC").await, "2 + 0");
    desk.assert_sound().await;
}

/// Looks that are made again and again cost what is not over, and not what ever was.
#[tokio::test]
async fn what_is_not_over_is_found_without_reading_what_is() {
    let mut desk = Desk::trading().await;
    desk.books.intent_open(&place_intent("i-1"), HOLDER).await.unwrap();
    desk.damage(
        "INSERT INTO intents OVERRIDING SYSTEM VALUE
         SELECT (jsonb_populate_record(i, jsonb_build_object(
                    'intent_id', 'old-' || n, 'order_id', 'old-' || n, 'ticket', 1000 + n, 'state', 'failed',
                    'ended_at', now(), 'changed_at', now() - interval '3 days'))).*
           FROM intents AS i, generate_series(1, 5000) AS n;
         ANALYZE intents",
    )
    .await;
    let books = desk.database.books(1).await;
    for look in ["tick", "adopt", "check"] {
        let (mut before, mut after) = ((0, 0), (0, 0));
        // What others have read before is counted late. A look that reads all of them does so each time.
        let cheap = wait_until(DEADLINE, async || {
            before = desk.intents_read().await;
            match look {
                "tick" => drop(books.strategy(STRATEGY).await.unwrap()),
                "adopt" => drop(books.unfinished(SHORT, "").await.unwrap()),
                _ => drop(books.check("intents").await.unwrap()),
            }
            sqlx::query("SELECT pg_stat_force_next_flush()").execute(books.pool()).await.unwrap();
            after = desk.intents_read().await;
            after.0 == before.0 && after.1 > before.1
        });
        assert!(cheap.await, "{look}: {before:?} and then {after:?}");
    }
}
