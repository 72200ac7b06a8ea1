//! Goal: within a process the best call goes first, nobody's going away holds up the rest, and an overslept slot is not
//! used.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use backstop::stack::wait_until;
use backstop_activities::{
    books::{Priority, Slot},
    pacing::Lane,
};
use backstop_tests::world::DEADLINE;
use futures::future::join_all;
use tokio::sync::Semaphore;

use crate::books::{Desk, VENUE, attempt};

/// A lane whose slots the test gives out one by one, and who asked for them.
struct Counter {
    lane: Lane,
    asked: Mutex<Vec<String>>,
    slots: Semaphore,
}

impl Counter {
    async fn new() -> Arc<Self> {
        let lane = Lane::new(Desk::paced(0).await.books, VENUE);
        Arc::new(Self { lane, asked: Mutex::default(), slots: Semaphore::new(0) })
    }

    async fn call(&self, name: &str, priority: Priority) {
        let ask = || async {
            self.asked.lock().unwrap().push(name.to_owned());
            self.slots.acquire().await.unwrap().forget();
            Ok::<_, ()>(Slot::Granted { value: (), wait: Duration::ZERO, interval: Duration::ZERO })
        };
        self.lane.turn(priority, ask, |()| futures::future::ready(Ok(()))).await.unwrap();
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

/// Starts a call and returns once it stands in the queue.
async fn enters(counter: &Arc<Counter>, name: &str, priority: Priority) -> tokio::task::JoinHandle<()> {
    let (counter, name) = (Arc::clone(counter), name.to_owned());
    let call = tokio::spawn(async move { counter.call(&name, priority).await });
    // One thread only: by now it has run as far as it can.
    for _ in 0..3 {
        tokio::task::yield_now().await;
    }
    call
}

#[tokio::test]
async fn a_cancel_goes_before_a_hundred_orders_that_came_first() {
    let counter = Counter::new().await;
    let mut calls = vec![enters(&counter, "order 0", Priority::Send).await];
    for number in 1..=100 {
        calls.push(enters(&counter, &format!("order {number}"), Priority::Send).await);
    }
    calls.push(enters(&counter, "book", Priority::Market).await);
    // It does not wait for the one that is asking: better calls ask at once.
    calls.push(enters(&counter, "cancel", Priority::Cancel).await);
    assert_eq!(counter.asked(), ["order 0", "cancel"]);
    counter.slots.add_permits(103);
    join_all(calls).await;
    let asked = counter.asked();
    assert_eq!((&asked[2], &asked[102]), (&"order 1".into(), &"order 100".into()));
}

/// Whatever waits gets a ninth of the slots, and no more than that while better calls wait.
#[tokio::test]
async fn orders_and_the_market_are_not_starved_by_lookups_that_never_end() {
    let counter = Counter::new().await;
    let mut calls = vec![enters(&counter, "look", Priority::Look).await];
    for (name, priority) in [("book", Priority::Market), ("order", Priority::Send), ("order", Priority::Send)] {
        calls.push(enters(&counter, name, priority).await);
    }
    for _ in 0..40 {
        calls.push(enters(&counter, "look", Priority::Look).await);
    }
    counter.slots.add_permits(44);
    join_all(calls).await;
    let asked = counter.asked();
    let places = |name: &str| -> Vec<usize> {
        asked.iter().enumerate().filter(|(_, asked)| *asked == name).map(|(place, _)| place).collect()
    };
    assert_eq!((places("order"), places("book")), (vec![8, 18], vec![9]), "{asked:?}");
}

#[tokio::test]
async fn a_cancel_does_not_wait_for_what_was_passed_over() {
    let counter = Counter::new().await;
    let mut calls = vec![enters(&counter, "look", Priority::Look).await];
    calls.push(enters(&counter, "book", Priority::Market).await);
    for _ in 0..8 {
        calls.push(enters(&counter, "look", Priority::Look).await);
    }
    counter.slots.add_permits(8);
    assert!(wait_until(DEADLINE, async || counter.asked().len() == 9).await);
    calls.push(enters(&counter, "cancel", Priority::Cancel).await);
    assert_eq!(counter.asked()[8..], ["book", "cancel"]);
    counter.slots.add_permits(3);
    join_all(calls).await;
}

#[tokio::test]
async fn whoever_goes_away_leaves_the_place_to_the_next() {
    let counter = Counter::new().await;
    let first = enters(&counter, "first", Priority::Send).await;
    let second = enters(&counter, "second", Priority::Send).await;
    let third = enters(&counter, "third", Priority::Send).await;
    second.abort();
    assert!(second.await.is_err());
    first.abort();
    assert!(first.await.is_err());
    counter.slots.add_permits(1);
    third.await.unwrap();
    assert_eq!(counter.asked(), ["first", "third"]);
}

#[tokio::test]
async fn an_overslept_slot_is_taken_back_and_another_asked_for() {
    // A quarter of the interval is a second.
    let (wait, interval) = (Duration::from_millis(200), Duration::from_secs(4));
    let (granted, forfeited) = (AtomicU32::new(0), Mutex::new(Vec::new()));
    let lane = Lane::new(Desk::paced(0).await.books, VENUE);
    let ask = || async {
        let number = granted.fetch_add(1, Ordering::Relaxed);
        if number == 0 {
            // The only thread of this process is busy until the slot is long over.
            let until = Instant::now() + wait + Duration::from_millis(1_300);
            tokio::spawn(async move { while Instant::now() < until {} });
        }
        Ok::<_, ()>(Slot::Granted { value: number, wait, interval })
    };
    let used = lane.turn(Priority::Send, ask, |number| {
        forfeited.lock().unwrap().push(number);
        futures::future::ready(Ok(()))
    });
    assert_eq!(used.await.unwrap(), 1);
    assert_eq!(*forfeited.lock().unwrap(), [0]);
}

/// Counted in slots, by the order in which the books gave them.
#[tokio::test]
async fn a_cancel_of_another_process_waits_at_most_two_slots_of_a_hundred() {
    const INTERVAL_MS: i64 = 1_000;
    let mut desk = Desk::paced(i32::try_from(INTERVAL_MS).unwrap()).await;
    let (orders, cancels) = (desk.process().await, desk.process().await);
    let lane = Arc::new(Lane::new(orders.clone(), VENUE));
    let mut backlog = tokio::task::JoinSet::new();
    for number in 0..100 {
        let (lane, orders, order) = (Arc::clone(&lane), orders.clone(), format!("o-{number}"));
        desk.opened(&order).await;
        backlog.spawn(async move {
            let forfeit = |_| futures::future::ready(Ok(()));
            let _ = lane.turn(Priority::Send, || attempt(&orders, &order), forfeit).await;
        });
    }
    let sending =
        wait_until(DEADLINE, async || desk.count("SELECT count(*) FROM orders WHERE state = 'attempted'").await >= 2);
    assert!(sending.await, "nothing is sent");
    // Once it has asked: what the books had given by then.
    let given = Mutex::new(None);
    let ask = || async {
        let slot = cancels.venue_slot(VENUE, Priority::Cancel).await;
        let last = "SELECT (extract(epoch FROM next_at) * 1000)::bigint FROM venues";
        let last: i64 = sqlx::query_scalar(last).fetch_one(cancels.pool()).await.unwrap();
        given.lock().unwrap().get_or_insert(last - INTERVAL_MS);
        slot
    };
    let cancel_lane = Lane::new(cancels.clone(), VENUE);
    let at = cancel_lane.turn(Priority::Cancel, ask, |_| futures::future::ready(Ok(()))).await.unwrap();
    backlog.abort_all();
    let waited = (at - given.lock().unwrap().unwrap()) / INTERVAL_MS;
    assert!(waited <= 2, "the cancel waited {waited} slots");
}
