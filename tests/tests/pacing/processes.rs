//! Goal: worker processes take turns at the exchange, by its own record of when it was called.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use backstop::stack::wait_until;
use backstop_tests::{
    Verdict, World,
    exchange::APPLY,
    world::{DEADLINE, payout_id},
};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

/// When the exchange received its requests, µs since 1970, in order.
async fn arrivals(world: &World) -> Vec<i64> {
    let log = world.exchange.log().await;
    let mut arrivals: Vec<i64> = log.iter().map(|request| request["received_at_us"].as_i64().unwrap()).collect();
    arrivals.sort_unstable();
    arrivals
}

pub(crate) fn now_us() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros()).unwrap()
}

const INTERVAL_MS: i32 = 200;
/// A call may be late by a quarter of the interval, or its slot is forfeited, and then takes its time on the way; the next
/// comes closer by both.
const CLOSEST_US: i64 = (INTERVAL_MS as i64 - INTERVAL_MS as i64 / 4 - CONNECTION_MS) * 1_000;
/// What the way to the exchange takes more at one time than at another, on a busy machine.
const CONNECTION_MS: i64 = 50;

/// The row "pacing 200 ms, two processes: 30 ms smallest gap, every gap too short". Slots that nobody has used are gone: what
/// comes after an idle time comes one after the other, too.
#[tokio::test]
async fn two_processes_call_the_exchange_one_after_the_other() {
    let mut world = World::without_worker().await;
    world.pace(INTERVAL_MS).await;
    world.start_worker().await;
    world.start_second_worker().await;
    assert_eq!(arrivals(&world).await, [0; 0], "nobody has a reason to call");
    let began = now_us();
    let mut refunds = Vec::new();
    let mut rounds = 0;
    while rounds < 2
        || !(world.second_has_passed("venue_submit.sent")
            && world.passed().iter().any(|name| name == "venue_submit.sent"))
    {
        let batch = futures::future::join_all((0..12).map(|_| world.refund())).await;
        let ended = futures::future::join_all(batch.iter().map(|refund| world.run(refund))).await;
        assert!(ended.into_iter().all(|ended| ended.receipt().state.name() == "settled"));
        refunds.extend(batch);
        idle(&world).await;
        rounds += 1;
    }
    for refund in &refunds {
        assert_eq!(world.verdict(&payout_id(refund)).await, Verdict::Paid);
    }
    // No call comes before its slot, so the nth comes no earlier than the nth slot can be.
    let arrivals = arrivals(&world).await;
    for (slot, arrived) in (0..).zip(&arrivals) {
        let earliest = began + slot * i64::from(INTERVAL_MS) * 1_000;
        assert!(*arrived >= earliest, "request {slot} came {} us too early", earliest - arrived);
    }
    let closest = arrivals.windows(2).map(|pair| pair[1] - pair[0]).min().unwrap();
    println!("{} requests, of which two were {closest} us apart", arrivals.len());
    assert!(closest >= CLOSEST_US, "two were {closest} us apart");
}

/// Waits until nobody has called for ten intervals.
async fn idle(world: &World) {
    let quiet = i64::from(INTERVAL_MS) * 10_000;
    let is_idle = async || arrivals(world).await.last().is_some_and(|last| now_us() - last > quiet);
    assert!(wait_until(DEADLINE, is_idle).await, "somebody goes on calling");
}

#[tokio::test]
async fn what_the_exchange_told_one_process_another_obeys() {
    let mut world = World::new().await;
    let (throttled, other) = (world.refund().await, world.refund().await);
    let id = payout_id(&throttled);
    world.exchange.fault(APPLY, &id, json!({"fault": "rate_limited", "retry_after_s": 4})).await;
    world.start(&throttled).await;
    let books = world.database.books(1).await;
    let told = wait_until(DEADLINE, async || {
        books.paces().await.unwrap().first().is_some_and(|pace| pace.closed_why.is_some())
    });
    assert!(told.await, "the books were not told");
    world.kill_worker().await;
    world.start_worker().await;
    for refund in [&other, &throttled] {
        let ended = if payout_id(refund) == id { world.ended(&id).await } else { world.run(refund).await };
        assert_eq!(ended.receipt().state.name(), "settled");
    }
    let log = world.exchange.log().await;
    let turned_away: Vec<&Value> = log.iter().filter(|request| request["status"] == 429).collect();
    assert_eq!(turned_away.len(), 1);
    let until = turned_away[0]["finished_at_ms"].as_i64().unwrap() + 4_000;
    let early = log.iter().filter(|request| request["seq"].as_i64() > turned_away[0]["seq"].as_i64());
    let early: Vec<&Value> = early.filter(|request| request["received_at_ms"].as_i64().unwrap() < until).collect();
    assert!(early.is_empty(), "{early:#?}");
    for refund in [throttled, other] {
        assert_eq!(world.verdict(&payout_id(&refund)).await, Verdict::Paid);
    }
}

/// The worker is stopped between the record of its attempt and the slot that it waits for, and wakes long after that.
#[tokio::test]
async fn an_attempt_that_overslept_its_slot_is_not_sent_and_another_is() {
    const INTERVAL: Duration = Duration::from_secs(6);
    let mut world = World::new().await;
    world.receive_window_ms = 60_000;
    world.kill_worker().await;
    world.start_worker().await;
    world.pace(i32::try_from(INTERVAL.as_millis()).unwrap()).await;
    // The slot of the present is gone: the next is most of an interval ahead.
    let books = world.database.books(1).await;
    let taken = books.venue_slot("binance", backstop_activities::books::Priority::Look).await.unwrap();
    assert!(taken.granted().is_some());
    let refund = world.refund().await;
    let id = world.start(&refund).await;
    world.reaches(&id, "attempted").await;
    world.signal_worker(Signal::SIGSTOP);
    let mut owner = world.database.owner().await;
    let over = wait_until(DEADLINE, async || {
        let sql = "SELECT max(signed_at) + interval '3 s' < clock_timestamp() FROM payout_attempts";
        sqlx::query_scalar::<_, bool>(sql).fetch_one(&mut owner).await.unwrap()
    });
    assert!(over.await);
    assert_eq!(world.exchange.all_requests(APPLY).await.len(), 0, "the slot was used");
    world.signal_worker(Signal::SIGCONT);
    assert_eq!(world.ended(&id).await.receipt().state.name(), "settled");
    assert_eq!(world.verdict(&id).await, Verdict::Paid);
    let attempts = "SELECT outcome || ' ' || coalesce(detail, '') FROM payout_attempts ORDER BY attempt";
    let attempts: Vec<String> = sqlx::query_scalar(attempts).fetch_all(&mut owner).await.unwrap();
    assert_eq!(attempts, ["not_sent it overslept its slot", "accepted "]);
    assert_eq!(world.exchange.requests(APPLY, &id).await, 1);
}
