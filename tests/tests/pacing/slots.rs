//! Goal: the books give one slot after the other, an interval apart, to the best that asks.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use backstop_activities::{
    books::{Books, Priority, Slot},
    pacing::{Lane, NoTurn},
};
use backstop_domain::RefusalKind;
use futures::future::join_all;

use crate::books::{Desk, HOLDER, MINUTE, VENUE, ask, attempt, refusal};

#[tokio::test]
async fn however_many_ask_at_once_two_grants_are_an_interval_apart() {
    const INTERVAL_MS: i32 = 4;
    let desk = Desk::paced(INTERVAL_MS).await;
    let mut processes = Vec::new();
    for number in 0..6 {
        let books = desk.process().await;
        let orders: Vec<String> = (0..10).map(|order| format!("o-{number}-{order}")).collect();
        for order in &orders {
            desk.opened(order).await;
        }
        processes.push((Arc::new(Lane::new(books.clone(), VENUE)), books, orders));
    }
    let calls = processes.iter().flat_map(|(lane, books, orders)| {
        let looks = (0..20).map(|_| futures::FutureExt::boxed(async { lane.slot(Priority::Look).await.unwrap() }));
        let sends = orders.iter().map(|order| futures::FutureExt::boxed(send(lane, books, order)));
        looks.chain(sends).collect::<Vec<_>>()
    });
    let mut granted = join_all(calls).await;
    granted.sort_unstable();
    assert_eq!(granted.len(), 6 * 30);
    let closest = granted.windows(2).map(|pair| pair[1] - pair[0]).min().unwrap();
    assert!(closest >= i64::from(INTERVAL_MS), "two slots are {closest} ms apart: {granted:?}");
}

async fn send(lane: &Lane, books: &Books, order_id: &str) -> i64 {
    let forfeit = |signed_at_ms| async move {
        let taken_back = books.order_not_sent(order_id, HOLDER, signed_at_ms, "overslept").await;
        taken_back.map(|taken_back| assert!(taken_back))
    };
    lane.turn(Priority::Send, || attempt(books, order_id), forfeit).await.unwrap()
}

#[tokio::test]
async fn a_slot_is_granted_at_most_one_interval_ahead() {
    let desk = Desk::paced(MINUTE).await;
    let first = ask(&desk.books, Priority::Look).await.unwrap();
    assert_eq!(ask(&desk.books, Priority::Look).await, Ok(first + i64::from(MINUTE)));
    let wait = ask(&desk.books, Priority::Look).await.unwrap_err();
    assert!(!wait.is_zero() && wait <= Duration::from_secs(60), "{wait:?}");
}

#[tokio::test]
async fn an_attempt_is_signed_with_its_slot_and_without_one_is_not_recorded() {
    let mut desk = Desk::paced(MINUTE).await;
    for order in ["o-1", "o-2", "o-3"] {
        desk.opened(order).await;
    }
    let first = attempt(&desk.books, "o-1").await.unwrap().granted().unwrap();
    let second = attempt(&desk.books, "o-2").await.unwrap().granted().unwrap();
    assert_eq!(second, first + i64::from(MINUTE));
    let third = attempt(&desk.books, "o-3").await.unwrap();
    assert!(matches!(third, Slot::Later { .. }), "{third:?}");
    let told = "SELECT concat_ws(' ', order_id, state, (extract(epoch FROM void_after - signed_at))::int) FROM orders
                 ORDER BY order_id";
    assert_eq!(desk.texts(told).await, ["o-1 attempted 7200", "o-2 attempted 7200", "o-3 opened"]);
    let signed = "SELECT (extract(epoch FROM signed_at) * 1000)::bigint FROM orders WHERE order_id = 'o-2'";
    assert_eq!(desk.count(signed).await, second);
}

#[tokio::test]
async fn the_better_call_of_another_process_goes_first() {
    let mut desk = Desk::paced(MINUTE).await;
    let (market, look) = (desk.process().await, desk.process().await);
    ask(&desk.books, Priority::Look).await.unwrap();
    let ahead = ask(&desk.books, Priority::Look).await.unwrap();
    assert!(ask(&market, Priority::Market).await.is_err());
    assert!(ask(&look, Priority::Look).await.is_err());
    desk.open_window().await;
    // Whoever comes first by now: the slot is kept for the better one, and the next is for the other.
    desk.opened("o-1").await;
    assert!(ask(&market, Priority::Market).await.is_err());
    assert!(attempt(&desk.books, "o-1").await.unwrap().granted().is_none());
    assert!(ask(&look, Priority::Look).await.unwrap() < ahead);
    // Now the order's process has asked for more than the market's.
    assert!(ask(&market, Priority::Market).await.is_err());
    assert!(attempt(&desk.books, "o-1").await.unwrap().granted().is_some());
    desk.open_window().await;
    assert!(ask(&market, Priority::Market).await.is_ok());
    assert_eq!(desk.count("SELECT count(*) FROM venue_asks").await, 0);
}

#[tokio::test]
async fn a_process_is_not_held_up_by_its_own_better_call_and_does_not_forget_it() {
    let mut desk = Desk::paced(MINUTE).await;
    let other = desk.process().await;
    ask(&desk.books, Priority::Look).await.unwrap();
    ask(&desk.books, Priority::Look).await.unwrap();
    assert!(ask(&desk.books, Priority::Look).await.is_err());
    assert!(ask(&desk.books, Priority::Send).await.is_err());
    desk.open_window().await;
    assert!(ask(&other, Priority::Market).await.is_err());
    assert!(ask(&desk.books, Priority::Send).await.is_ok());
    assert!(ask(&other, Priority::Market).await.is_err(), "the better call is still to come");
    assert!(ask(&desk.books, Priority::Look).await.is_ok());
    desk.open_window().await;
    assert!(ask(&other, Priority::Market).await.is_ok());
}

#[tokio::test]
async fn whoever_eight_better_calls_of_other_processes_have_gone_before_is_next() {
    for priority in [Priority::Send, Priority::Market] {
        let mut desk = Desk::paced(MINUTE).await;
        let patient = desk.process().await;
        for window in 0..5 {
            // Both of a window's slots are the better call's, which has asked for more.
            assert!(ask(&desk.books, Priority::Look).await.is_ok());
            assert!(ask(&desk.books, Priority::Look).await.is_ok());
            assert!(ask(&patient, priority).await.is_err(), "in window {window}");
            assert!(ask(&desk.books, Priority::Look).await.is_err());
            desk.open_window().await;
            if window < 4 {
                assert!(ask(&patient, priority).await.is_err(), "in window {window}");
            }
        }
        assert!(ask(&desk.books, Priority::Look).await.is_err(), "it goes first once more");
        assert!(ask(&patient, priority).await.is_ok());
        // From there on it is as before.
        assert!(ask(&desk.books, Priority::Look).await.is_ok());
        assert!(ask(&patient, priority).await.is_err());
        assert!(ask(&desk.books, Priority::Look).await.is_err());
        desk.open_window().await;
        assert!(ask(&patient, priority).await.is_err());
        assert!(ask(&desk.books, Priority::Look).await.is_ok());
    }
}

/// Neither what others have been preferred to for long enough, nor a lookup.
#[tokio::test]
async fn nothing_of_another_process_goes_before_a_cancel() {
    let mut desk = Desk::paced(MINUTE).await;
    let (patient, look, cancel) = (desk.process().await, desk.process().await, desk.process().await);
    ask(&desk.books, Priority::Look).await.unwrap();
    ask(&desk.books, Priority::Look).await.unwrap();
    assert!(ask(&patient, Priority::Market).await.is_err());
    desk.owner_says("UPDATE venue_asks SET passed = 8").await;
    assert!(ask(&look, Priority::Look).await.is_err());
    assert!(ask(&cancel, Priority::Cancel).await.is_err());
    desk.open_window().await;
    assert!(ask(&patient, Priority::Market).await.is_err());
    assert!(ask(&look, Priority::Look).await.is_err());
    assert!(ask(&cancel, Priority::Cancel).await.is_ok());
    assert!(ask(&look, Priority::Look).await.is_err(), "the patient one is next");
    assert!(ask(&patient, Priority::Market).await.is_ok());
}

#[tokio::test]
async fn who_promised_to_ask_again_and_did_not_holds_nobody_up() {
    let mut desk = Desk::paced(MINUTE).await;
    let dead = desk.process().await;
    ask(&desk.books, Priority::Look).await.unwrap();
    ask(&desk.books, Priority::Look).await.unwrap();
    assert!(ask(&dead, Priority::Look).await.is_err());
    desk.open_window().await;
    assert!(ask(&desk.books, Priority::Send).await.is_err());
    desk.owner_says("UPDATE venue_asks SET until = clock_timestamp() - interval '61 s' WHERE priority = 1").await;
    assert!(ask(&desk.books, Priority::Send).await.is_ok());
}

#[tokio::test]
async fn a_venue_that_wants_to_be_left_alone_is_left_alone_by_every_process() {
    for interval in [0, 50] {
        let mut desk = Desk::paced(interval).await;
        let other = desk.process().await;
        desk.opened("o-1").await;
        desk.books.venue_back_off(VENUE, Duration::from_secs(600), "HTTP 418").await.unwrap();
        // A shorter wish does not shorten a longer one.
        desk.books.venue_back_off(VENUE, Duration::from_secs(1), "HTTP 429").await.unwrap();
        for books in [&desk.books, &other] {
            let slot = books.venue_slot(VENUE, Priority::Look).await.unwrap();
            let Slot::Later { wait, why } = slot else { panic!("{slot:?}") };
            assert!(wait > Duration::from_secs(300), "{wait:?}");
            assert_eq!(why.as_deref(), Some("HTTP 418"));
            assert!(attempt(books, "o-1").await.unwrap().granted().is_none());
        }
        assert_eq!(desk.texts("SELECT state FROM orders").await, ["opened"]);
        // Nobody sits that out in the queue.
        let Err(NoTurn::NotNow { why, after }) = Lane::new(other, VENUE).slot(Priority::Look).await else {
            panic!("a slot")
        };
        assert!(why.contains("HTTP 418") && after.unwrap() > Duration::from_secs(300), "{why} {after:?}");
        desk.owner_says("UPDATE venues SET next_at = clock_timestamp(), closed_until = clock_timestamp()").await;
        sqlx::query("DELETE FROM venue_asks").execute(&mut desk.owner).await.unwrap();
        assert!(attempt(&desk.books, "o-1").await.unwrap().granted().is_some());
    }
}

#[tokio::test]
async fn a_pace_is_of_a_known_venue_and_at_most_a_minute() {
    let desk = Desk::paced(50).await;
    for (venue, interval, field) in
        [("kraken", 50, "venue"), (VENUE, -1, "min_interval_ms"), (VENUE, 60_001, "min_interval_ms")]
    {
        let refused = refusal(desk.books.venue_pace_set(venue, interval).await);
        assert_eq!((refused.kind, refused.detail["field"].as_str()), (RefusalKind::InvalidInput, Some(field)));
        assert!(field != "venue" || refused.message.contains(VENUE), "{}", refused.message);
    }
    assert_eq!(desk.books.paces().await.unwrap()[0].min_interval_ms, 50);
}

#[tokio::test]
async fn what_was_not_sent_may_be_attempted_again_and_only_its_own_attempt_is_taken_back() {
    let mut desk = Desk::paced(0).await;
    desk.opened("o-1").await;
    let first = attempt(&desk.books, "o-1").await.unwrap().granted().unwrap();
    assert!(desk.books.order_not_sent("o-1", HOLDER, first, "connection refused").await.unwrap());
    // The answer was lost: said again, it changes nothing.
    assert!(desk.books.order_not_sent("o-1", HOLDER, first, "connection refused").await.unwrap());
    let mut signed = BTreeSet::from([first]);
    // By another millisecond, at least.
    while signed.len() < 2 {
        let again = attempt(&desk.books, "o-1").await.unwrap().granted().unwrap();
        if !signed.insert(again) {
            assert!(desk.books.order_not_sent("o-1", HOLDER, again, "connection refused").await.unwrap());
        }
    }
    assert!(!desk.books.order_not_sent("o-1", HOLDER, first, "connection refused").await.unwrap());
    assert_eq!(desk.texts("SELECT state FROM orders").await, ["attempted"]);
    let stranger = desk.books.order_not_sent("o-1", "workflow-2", first, "connection refused").await;
    assert_eq!(refusal(stranger).kind, RefusalKind::Held);
    let reserved = "SELECT trim_scale(locked)::text FROM accounts WHERE owner = 'alice' AND asset = 'BTC'";
    assert_eq!(desk.texts(reserved).await, ["0.001"]);
    assert!(desk.books.order_void("o-1", 0, true, "refused").await.unwrap());
    assert_eq!(desk.texts(reserved).await, ["0"]);
}
