//! Goal: once a halt has returned, nothing that it covers is recorded as sent, whoever was about to.

use backstop_activities::books::{BooksError, HaltScope, Priority};
use backstop_domain::{
    RefundRequest, RefusalKind,
    payout::{PayoutOrder, PayoutRef},
};
use backstop_tests::{operations::ADDRESS, world::DEADLINE};
use serde_json::json;
use tokio::task::JoinSet;

use crate::books::{Desk, HOLDER, LONG, STRATEGY, VENUE, ask, attempt, order, refusal};

fn scopes() -> [HaltScope; 3] {
    [HaltScope::All, HaltScope::Venue(VENUE.into()), HaltScope::Strategy(STRATEGY.into())]
}

fn refund(id: &str) -> (PayoutOrder, PayoutRef) {
    let request = RefundRequest::read(json!({
        "refund_id": id, "user_id": "alice", "asset_id": "BTC", "amount": "0.1", "reason": "order cancelled",
        "destination": {"network": "BTC", "address": ADDRESS},
    }));
    let order = PayoutOrder::of_refund(&request.unwrap(), HOLDER);
    let held = PayoutRef { payout_id: order.payout_id.clone(), holder: HOLDER.into() };
    (order, held)
}

#[tokio::test]
async fn a_halt_of_any_scope_refuses_orders_lets_the_rest_go_on_and_is_lifted() {
    let mut desk = Desk::paced(0).await;
    for (number, scope) in scopes().iter().enumerate() {
        let opened = format!("o-{number}");
        let (refund, held) = refund(&opened);
        desk.opened(&opened).await;
        desk.books.payout_open(&refund).await.unwrap();
        assert!(desk.books.halt(scope, false, "olga", "the market is mad").await.unwrap());
        assert!(!desk.books.halt(scope, false, "otto", "me too").await.unwrap());
        let detail = json!({"scope": scope.to_string(), "by": "olga", "reason": "the market is mad"});
        for refused in
            [refusal(attempt(&desk.books, &opened).await), refusal(desk.books.order_open(&order("new")).await)]
        {
            assert_eq!((refused.kind, &refused.detail), (RefusalKind::Halted, &detail));
        }
        // What is open may be looked at and cancelled; a payout goes, unless it is halted as well.
        assert!(ask(&desk.books, Priority::Look).await.is_ok());
        assert!(desk.books.payout_attempt(&held, LONG, LONG).await.unwrap().granted().is_some());
        assert!(desk.books.halt_lift(scope, "olga", "calm again").await.unwrap());
        assert!(!desk.books.halt_lift(scope, "olga", "calm again").await.unwrap());
        assert!(attempt(&desk.books, &opened).await.unwrap().granted().is_some());
    }
    let acts =
        "SELECT concat_ws(' ', act, subject, operator, evidence) FROM operator_acts WHERE subject = 'venue/binance'
                 ORDER BY id";
    let expected = ["halt orders venue/binance olga the market is mad", "resume venue/binance olga calm again"];
    assert_eq!(desk.texts(acts).await, expected);
}

#[tokio::test]
async fn a_halt_may_be_widened_to_payouts_and_another_one_stays_when_it_is_lifted() {
    let mut desk = Desk::paced(0).await;
    let (refund, held) = refund("r-1");
    desk.books.payout_open(&refund).await.unwrap();
    let venue = HaltScope::Venue(VENUE.into());
    for (payouts, changed) in [(false, true), (true, true), (true, false), (false, false)] {
        assert_eq!(desk.books.halt(&venue, payouts, "olga", "why not").await.unwrap(), changed);
    }
    assert!(desk.books.halt(&HaltScope::All, true, "otto", "everything").await.unwrap());
    for (lifted, left) in [(&HaltScope::All, "venue/binance"), (&venue, "")] {
        let refused = refusal(desk.books.payout_attempt(&held, LONG, LONG).await);
        assert_eq!(refused.kind, RefusalKind::Halted);
        desk.books.halt_lift(lifted, "olga", "calm again").await.unwrap();
        let halts: Vec<String> = desk.books.halts().await.unwrap().into_iter().map(|halt| halt.scope).collect();
        assert_eq!(halts.concat(), left);
    }
    assert!(desk.books.payout_attempt(&held, LONG, LONG).await.unwrap().granted().is_some());
    assert_eq!(desk.count("SELECT count(*) FROM operator_acts WHERE act LIKE 'halt%'").await, 3);
}

#[tokio::test]
async fn only_what_there_is_can_be_halted_and_only_by_somebody_who_says_why() {
    let desk = Desk::paced(0).await;
    let (all, venue) = (HaltScope::All, HaltScope::Venue(VENUE.into()));
    let (kraken, strategy) = (HaltScope::Venue("kraken".into()), HaltScope::Strategy(STRATEGY.into()));
    let cases = [
        (HaltScope::Strategy("mm-9".into()), false, "olga", "why", RefusalKind::NotFound, "strategy_key"),
        (kraken, false, "olga", "why", RefusalKind::InvalidInput, "venue"),
        (strategy, true, "olga", "why", RefusalKind::InvalidInput, "payouts"),
        (all, false, "", "why", RefusalKind::InvalidInput, "by"),
        (venue, false, "olga", "", RefusalKind::InvalidInput, "reason"),
    ];
    for (scope, payouts, by, reason, kind, field) in cases {
        let refused = refusal(desk.books.halt(&scope, payouts, by, reason).await);
        assert_eq!((refused.kind, refused.detail["field"].as_str()), (kind, Some(field)), "{scope}");
    }
    assert_eq!(desk.books.halts().await.unwrap(), []);
}

#[tokio::test]
async fn a_halt_waits_for_the_attempt_that_is_under_way_also_at_a_venue_that_nobody_called_before() {
    for (number, scope) in scopes().into_iter().enumerate() {
        for interval in [0, 1] {
            let mut desk = Desk::paced(interval).await;
            let late = format!("late-{number}");
            desk.opened("o-1").await;
            desk.opened(&late).await;
            desk.owner_says("DELETE FROM venues").await;
            let one = desk.database.books(1).await;
            sqlx::query("BEGIN").execute(one.pool()).await.unwrap();
            assert!(attempt(&one, "o-1").await.unwrap().granted().is_some());
            let halt = tokio::spawn({
                let (books, scope) = (desk.books.clone(), scope.clone());
                async move { books.halt(&scope, false, "olga", "stop").await.unwrap() }
            });
            until_waiting(&mut desk).await;
            sqlx::query("COMMIT").execute(one.pool()).await.unwrap();
            assert!(halt.await.unwrap());
            assert_eq!(refusal(attempt(&desk.books, &late).await).kind, RefusalKind::Halted);
            assert_eq!(desk.count("SELECT count(*) FROM orders WHERE state = 'attempted'").await, 1);
        }
    }
}

/// Waits until a connection to this database waits for a lock.
async fn until_waiting(desk: &mut Desk) {
    let sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let waiting = backstop::stack::wait_until(DEADLINE, async || desk.count(sql).await > 0);
    assert!(waiting.await, "nobody waits");
}

/// Many are about to send when the halt comes: what is recorded when it is made is all that ever is.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_attempt_slips_through_while_a_halt_is_made() {
    const COUNT: &str = "SELECT count(*) FROM orders WHERE state = 'attempted'";
    let mut desk = Desk::paced(0).await;
    for (number, scope) in scopes().into_iter().cycle().take(6).enumerate() {
        let mut senders = JoinSet::new();
        let before = desk.count(COUNT).await;
        for sender in 0..8 {
            let books = desk.process().await;
            let orders: Vec<String> = (0..40).map(|order| format!("o-{number}-{sender}-{order}")).collect();
            for id in &orders {
                desk.opened(id).await;
            }
            senders.spawn(async move {
                let mut refused = 0;
                for id in &orders {
                    match attempt(&books, id).await {
                        Ok(slot) => assert!(slot.granted().is_some()),
                        Err(BooksError::Refused(refusal)) if refusal.kind == RefusalKind::Halted => refused += 1,
                        Err(error) => panic!("{error}"),
                    }
                }
                refused
            });
        }
        let sending = backstop::stack::wait_until(DEADLINE, async || desk.count(COUNT).await > before);
        assert!(sending.await, "nothing is sent");
        // Counted before its commit: it keeps everybody from recording anything from when it has the table on.
        let (kind, name) = scope.parts();
        sqlx::query("BEGIN").execute(&mut desk.owner).await.unwrap();
        let halt = sqlx::query("SELECT halt($1, $2, false, 'olga', 'stop')").bind(kind).bind(name);
        halt.execute(&mut desk.owner).await.unwrap();
        let recorded = desk.count(COUNT).await;
        sqlx::query("COMMIT").execute(&mut desk.owner).await.unwrap();
        let refused: i64 = senders.join_all().await.into_iter().sum();
        assert!(refused > 0, "the halt came too late to refuse anything");
        assert_eq!(desk.count(COUNT).await, recorded, "{scope}");
        assert_eq!(recorded - before + refused, 8 * 40);
        desk.books.halt_lift(&scope, "olga", "go on").await.unwrap();
    }
}
