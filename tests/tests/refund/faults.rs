//! Goal: whatever the exchange does to a request, the refund ends paid exactly once or returned in full, by both books,
//! and whether or not the exchange recognizes a request that it has seen before.

use backstop_tests::{Verdict, World, exchange::APPLY, world::payout_id};
use serde_json::{Value, json};

struct Case {
    name: &'static str,
    faults: Vec<(&'static str, Value)>,
    ends: Verdict,
}

fn case(name: &'static str, faults: &[(&'static str, Value)], ends: Verdict) -> Case {
    Case { name, faults: faults.to_vec(), ends }
}

fn on_apply(name: &'static str, fault: Value, ends: Verdict) -> Case {
    case(name, &[(APPLY, fault)], ends)
}

fn single_faults() -> Vec<Case> {
    use Verdict::{Paid, Returned};
    vec![
        case("none", &[], Paid),
        on_apply("answer lost after executing", json!({"fault": "lose_answer"}), Paid),
        on_apply("answer lost, then hidden", json!({"fault": "lose_answer", "hide_ms": 900}), Paid),
        on_apply("connection lost before executing", json!({"fault": "drop"}), Paid),
        on_apply("delayed within the window", json!({"fault": "delay", "ms": 400}), Paid),
        on_apply("delayed past the window", json!({"fault": "delay", "ms": 1_200}), Paid),
        on_apply("answer too late", json!({"fault": "delay_answer", "ms": 2_000}), Paid),
        on_apply("held back for good", json!({"fault": "hold", "ms": 3_000}), Paid),
        on_apply("500, not executed", json!({"fault": "status", "status": 500}), Paid),
        on_apply("500, executed", json!({"fault": "status", "status": 500, "execute": true}), Paid),
        on_apply("503, not executed", json!({"fault": "status", "status": 503}), Paid),
        on_apply("503, executed", json!({"fault": "status", "status": 503, "execute": true}), Paid),
        on_apply("over the rate limit", json!({"fault": "rate_limited", "times": 2}), Paid),
        on_apply("banned", json!({"fault": "banned"}), Paid),
        on_apply("unreadable, not executed", json!({"fault": "garbage"}), Paid),
        on_apply("unreadable, executed", json!({"fault": "garbage", "execute": true}), Paid),
        on_apply("insufficient balance", json!({"fault": "reject", "code": -4026}), Returned),
        on_apply("withdrawals closed", json!({"fault": "reject", "code": -4019}), Returned),
        on_apply("a code that is not on the list", json!({"fault": "reject", "code": -9999}), Paid),
        on_apply("executed late", json!({"fault": "execute_late", "ms": 700}), Paid),
        on_apply("hidden from lookups", json!({"fault": "hide", "ms": 900}), Paid),
        on_apply("failed after accepting", json!({"fault": "fail_after", "ms": 100}), Returned),
        on_apply("rejected after accepting", json!({"fault": "fail_after", "ms": 100, "state": "rejected"}), Returned),
    ]
}

fn pairs_of_faults() -> Vec<Case> {
    use Verdict::{Paid, Returned};
    let lost = || (APPLY, json!({"fault": "lose_answer"}));
    let dropped = || (APPLY, json!({"fault": "drop"}));
    let poor = || (APPLY, json!({"fault": "reject", "code": -4026}));
    vec![
        // The refusal of a second send would prove nothing about the first: there must be no second send.
        case("answer lost, then insufficient balance", &[lost(), poor()], Paid),
        case("not executed, then insufficient balance", &[dropped(), poor()], Returned),
        case("not executed twice", &[dropped(), dropped()], Paid),
        case("not executed, then answer lost", &[dropped(), lost()], Paid),
        case(
            "held back, then found late",
            &[(APPLY, json!({"fault": "execute_late", "ms": 800, "hide_ms": 1_200}))],
            Paid,
        ),
        case(
            "over the limit, then failed after accepting",
            &[(APPLY, json!({"fault": "rate_limited"})), (APPLY, json!({"fault": "fail_after", "ms": 100}))],
            Returned,
        ),
        case(
            "unreadable, then held back",
            &[(APPLY, json!({"fault": "garbage"})), (APPLY, json!({"fault": "hold", "ms": 2_500}))],
            Paid,
        ),
    ]
}

/// Runs every case beside every other in one world, and tells all that went wrong at once.
async fn every_case_ends_lawfully(dedupe: &str) {
    let world = World::new().await;
    world.exchange.set(json!({"dedupe": dedupe})).await;
    let cases: Vec<Case> = single_faults().into_iter().chain(pairs_of_faults()).collect();
    let runs = cases.iter().map(async |case| {
        let refund = world.refund().await;
        let id = payout_id(&refund);
        for (path, fault) in &case.faults {
            world.exchange.fault(path, &id, fault.clone()).await;
        }
        let ended = world.run(&refund).await;
        let verdict = world.verdict(&id).await;
        let sends = world.exchange.requests(APPLY, &id).await;
        let matches =
            verdict == case.ends && ended.kind() == if verdict == Verdict::Paid { "settled" } else { "returned" };
        (!matches).then(|| format!("{}: ended {verdict:?} ({}) after {sends} sends", case.name, ended.kind()))
    });
    let wrong: Vec<String> = futures::future::join_all(runs).await.into_iter().flatten().collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test]
async fn every_fault_ends_paid_once_or_returned_where_requests_are_not_deduplicated() {
    every_case_ends_lawfully("none").await;
}

#[tokio::test]
async fn every_fault_ends_paid_once_or_returned_where_requests_are_deduplicated() {
    every_case_ends_lawfully("dedupe").await;
}

#[tokio::test]
async fn every_fault_ends_paid_once_or_returned_where_duplicates_are_refused() {
    every_case_ends_lawfully("duplicate_error").await;
}

#[tokio::test]
async fn a_refund_whose_answer_was_lost_is_sent_only_once() {
    let world = World::new().await;
    let refund = world.refund().await;
    let id = payout_id(&refund);
    world.exchange.fault(APPLY, &id, json!({"fault": "lose_answer"})).await;
    world.run(&refund).await.receipt();
    assert_eq!(world.verdict(&id).await, Verdict::Paid);
    assert_eq!(world.exchange.requests(APPLY, &id).await, 1);
    let status = world.status(&id).await;
    assert!(status.steps[1].note.starts_with("unknown: the connection was lost"), "{status:?}");
    assert!(status.steps[2].note.starts_with("paid as withdrawal"), "{status:?}");
}

#[tokio::test]
async fn a_refusal_is_never_sent_again() {
    let world = World::new().await;
    let refund = world.refund().await;
    let id = payout_id(&refund);
    world.exchange.fault(APPLY, &id, json!({"fault": "reject", "code": -4026, "times": 100})).await;
    let receipt = world.run(&refund).await.receipt();
    assert!(receipt.reason.unwrap().contains("-4026"));
    assert_eq!(world.verdict(&id).await, Verdict::Returned);
    assert_eq!(world.exchange.requests(APPLY, &id).await, 1);
}

#[tokio::test]
async fn a_venue_that_asks_for_more_time_than_there_is_is_left_alone() {
    let world = World::new().await;
    let mut refund = world.refund().await;
    refund["confirm_timeout_seconds"] = json!(30);
    let id = payout_id(&refund);
    world.exchange.fault(APPLY, &id, json!({"fault": "rate_limited", "retry_after_s": 600, "times": 100})).await;
    world.run(&refund).await.receipt();
    assert_eq!(world.verdict(&id).await, Verdict::Returned);
    assert_eq!(world.exchange.requests(APPLY, &id).await, 1);
}

#[tokio::test]
async fn a_send_that_keeps_vanishing_is_given_up_and_the_money_is_back() {
    let world = World::new().await;
    let refund = world.refund().await;
    let id = payout_id(&refund);
    world.exchange.fault(APPLY, &id, json!({"fault": "drop", "times": 100})).await;
    world.run(&refund).await.receipt();
    assert_eq!(world.verdict(&id).await, Verdict::Returned);
    assert_eq!(world.exchange.requests(APPLY, &id).await, 5);
}
