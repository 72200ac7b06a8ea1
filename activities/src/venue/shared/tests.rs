use std::{collections::VecDeque, future::Future};

use futures::future::join_all;
use tokio::{sync::Semaphore, task::yield_now, time::timeout};

use super::{
    super::{DepositListing, RecordState, SendOutcome, Withdrawal},
    AHEAD_MS, Arc, BEHIND_MS, BoxFuture, Duration, FutureExt, LookupFailed, Mutex, PayoutVenue, Question,
    SharedHistory, Sighting, WeakShared, WithdrawalRecord, lock, millis,
};

const HOUR_MS: i64 = 3_600_000;
/// Some time of the books' clock.
const NOW: i64 = 1_700_000_000_000;
/// No test takes that long.
const AGE: Duration = Duration::from_secs(600);

type Answer = Result<Vec<WithdrawalRecord>, LookupFailed>;
type Seen = Result<Sighting, LookupFailed>;

/// A venue that answers one request per permit, and remembers the spans it was asked for.
struct Fake {
    permits: Semaphore,
    polls: Mutex<Vec<(i64, i64)>>,
    alone: Mutex<Vec<(String, i64, i64)>>,
    answers: Mutex<VecDeque<Answer>>,
}

impl Fake {
    async fn answer(&self) -> Answer {
        self.permits.acquire().await.unwrap().forget();
        self.answers.lock().unwrap().pop_front().unwrap_or_else(|| Ok(vec![record("ours"), record("theirs")]))
    }

    fn polls(&self) -> Vec<(i64, i64)> {
        self.polls.lock().unwrap().clone()
    }
}

impl PayoutVenue for Fake {
    fn submit<'a>(&'a self, _: Withdrawal<'a>, _: i64) -> BoxFuture<'a, SendOutcome> {
        let reason = "only looked at here".into();
        async { SendOutcome::NotSent { reason, after: None } }.boxed()
    }

    fn withdrawals<'a>(&'a self, client_id: &'a str, from_ms: i64, until_ms: i64, _: i64) -> BoxFuture<'a, Answer> {
        self.alone.lock().unwrap().push((client_id.to_owned(), from_ms, until_ms));
        self.answer().boxed()
    }

    fn history(&self, from_ms: i64, until_ms: i64, _: i64) -> BoxFuture<'_, Answer> {
        self.polls.lock().unwrap().push((from_ms, until_ms));
        self.answer().boxed()
    }

    fn deposits(&self, _: i64, _: i64, _: i64) -> BoxFuture<'_, Result<DepositListing, LookupFailed>> {
        let reason = "only its withdrawals are looked at here".into();
        async { Err(LookupFailed { reason, after: None }) }.boxed()
    }
}

fn record(client_id: &str) -> WithdrawalRecord {
    WithdrawalRecord {
        id: format!("w-{client_id}"),
        client_id: Some(client_id.to_owned()),
        state: RecordState::Pending,
        received: "1".into(),
        network_fee: "0".into(),
        tx_id: None,
        info: String::new(),
        completed_at: None,
    }
}

fn failed(after: Option<Duration>) -> LookupFailed {
    LookupFailed { reason: "down".into(), after }
}

fn set_up(permits: usize, answers: impl Into<VecDeque<Answer>>) -> (Arc<Fake>, Arc<SharedHistory>) {
    let fake = Arc::new(Fake {
        permits: Semaphore::new(permits),
        polls: Mutex::default(),
        alone: Mutex::default(),
        answers: Mutex::new(answers.into()),
    });
    let venue = Arc::clone(&fake) as Arc<dyn PayoutVenue>;
    (fake, Arc::new(SharedHistory::new(venue, Duration::from_secs(6 * 3_600), AGE)))
}

fn asks(from_ms: i64, now_ms: i64, max_age: Duration) -> Question<'static> {
    Question { client_id: "ours", from_ms, until_ms: now_ms + 5, now_ms, max_age }
}

fn young(now_ms: i64) -> Question<'static> {
    asks(NOW - HOUR_MS, now_ms, AGE)
}

#[allow(clippy::unnecessary_wraps)]
fn saw(looked_at_ms: i64) -> Seen {
    Ok(Sighting { records: vec![record("ours")], looked_at_ms })
}

fn spawn(history: &Arc<SharedHistory>, question: Question<'static>) -> impl Future<Output = Seen> {
    let history = Arc::clone(history);
    let task = tokio::spawn(async move { history.look_up(question).await });
    async { task.await.unwrap() }
}

async fn wait_for(history: &SharedHistory, waiting: usize) {
    let come = async {
        while lock(&history.state).waiting.len() != waiting {
            yield_now().await;
        }
    };
    timeout(Duration::from_secs(30), come).await.expect("there are never as many who wait");
}

fn nobody_is_left(history: &SharedHistory) {
    let state = lock(&history.state);
    assert!(state.waiting.is_empty());
    assert!(state.under_way.as_ref().and_then(WeakShared::upgrade).is_none(), "a poll that nobody waits for");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_hundred_at_once_cost_one_poll() {
    let (fake, history) = set_up(0, []);
    let callers: Vec<_> = (0..100).map(|_| spawn(&history, young(NOW))).collect();
    wait_for(&history, 100).await;
    fake.permits.add_permits(100);
    assert_eq!(join_all(callers).await, vec![saw(NOW); 100]);
    assert_eq!(fake.polls().len(), 1);
    nobody_is_left(&history);
}

/// The first one's poll began before the others had asked: they share the next one.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_hundred_at_once_who_take_nothing_old_cost_two_polls() {
    let (fake, history) = set_up(0, []);
    let callers: Vec<_> = (0..100).map(|n| spawn(&history, asks(NOW, NOW + n, Duration::ZERO))).collect();
    wait_for(&history, 100).await;
    fake.permits.add_permits(100);
    for (n, seen) in (0..).zip(join_all(callers).await) {
        let looked_at_ms = seen.unwrap().looked_at_ms;
        assert!((NOW + n..NOW + 100).contains(&looked_at_ms), "{n} by a look at {looked_at_ms}");
    }
    assert_eq!(fake.polls().len(), 2);
}

#[tokio::test]
async fn a_look_is_used_again_with_its_own_time_until_it_is_too_old() {
    let (fake, history) = set_up(9, []);
    assert_eq!(history.look_up(young(NOW)).await, saw(NOW));
    for later in [1, 1_000, millis(AGE)] {
        assert_eq!(history.look_up(young(NOW + later)).await, saw(NOW));
    }
    let theirs = Question { client_id: "nobody's", ..young(NOW + 1) };
    assert_eq!(history.look_up(theirs).await, Ok(Sighting { records: vec![], looked_at_ms: NOW }));
    assert_eq!(fake.polls().len(), 1);
    let too_late = NOW + millis(AGE) + 1;
    assert_eq!(history.look_up(young(too_late)).await, saw(too_late));
    assert_eq!(fake.polls().len(), 2);
}

/// A standby's clock may be behind: what was seen by the old clock proves nothing about times of the new one.
#[tokio::test]
async fn a_look_by_a_clock_that_was_set_back_since_counts_as_of_the_question() {
    let (_, history) = set_up(9, []);
    history.look_up(young(NOW)).await.unwrap();
    assert_eq!(history.look_up(young(NOW - 60_000)).await, saw(NOW - 60_000));
}

#[tokio::test]
async fn who_takes_nothing_old_waits_for_a_poll_that_begins_later() {
    let (fake, history) = set_up(1, [Ok(vec![]), Ok(vec![]), Ok(vec![record("ours")])]);
    history.look_up(young(NOW)).await.unwrap();
    let patient = spawn(&history, asks(NOW, NOW + millis(AGE) * 2, AGE));
    wait_for(&history, 1).await;
    let strict = spawn(&history, asks(NOW, NOW + millis(AGE) * 2, Duration::ZERO));
    wait_for(&history, 2).await;
    fake.permits.add_permits(1);
    assert_eq!(patient.await.unwrap().records, []);
    wait_for(&history, 1).await;
    fake.permits.add_permits(1);
    assert_eq!(strict.await, saw(NOW + millis(AGE) * 2));
    assert_eq!(fake.polls().len(), 3);
}

/// The poll begins as late as the last of those who wait for it has asked, and goes back as far as any of them needs.
#[tokio::test]
async fn a_poll_is_for_everybody_who_waits_for_it() {
    let (fake, history) = set_up(0, []);
    let first = spawn(&history, young(NOW));
    wait_for(&history, 1).await;
    let older = [2, 4, 3].map(|hours| spawn(&history, asks(NOW - hours * HOUR_MS, NOW + hours, AGE)));
    wait_for(&history, 4).await;
    fake.permits.add_permits(9);
    assert_eq!(first.await, saw(NOW));
    assert_eq!(join_all(older).await, vec![saw(NOW + 4); 3]);
    let polls = fake.polls();
    assert_eq!(
        polls.iter().map(|(from, _)| *from).collect::<Vec<_>>(),
        [NOW - HOUR_MS - BEHIND_MS, NOW - 4 * HOUR_MS - BEHIND_MS]
    );
    assert!(polls[1].1 >= NOW + 4 + AHEAD_MS);
}

/// Payouts of different age that come back in any order cost one poll each time, not one each.
#[tokio::test]
async fn a_poll_reaches_back_for_those_who_asked_since_the_last_one() {
    let (fake, history) = set_up(99, []);
    for round in 1..=5 {
        let now = NOW + round * 2 * millis(AGE);
        for hours in [1, 2, 3, 4] {
            assert!(history.look_up(asks(NOW - hours * HOUR_MS, now, AGE)).await.is_ok());
        }
    }
    // Four while nobody knows of the others, then one in each round.
    assert_eq!(fake.polls().len(), 4 + 4);
    // Who has not come back is forgotten.
    let late = NOW + 5 * HOUR_MS;
    for later in [0, 2, 4] {
        history.look_up(asks(late, late + later * millis(AGE), AGE)).await.unwrap();
    }
    assert_eq!(fake.polls().last().unwrap().0, late - BEHIND_MS);
}

#[tokio::test]
async fn a_failure_is_shared_and_nobody_asks_before_the_venue_wants_to_be_asked() {
    let hour = Duration::from_secs(3_600);
    let (fake, history) = set_up(0, [Err(failed(Some(hour)))]);
    let callers: Vec<_> = (0..20).map(|_| spawn(&history, asks(NOW, NOW, Duration::ZERO))).collect();
    wait_for(&history, 20).await;
    fake.permits.add_permits(9);
    assert_eq!(join_all(callers).await, vec![Err(failed(Some(hour))); 20]);
    for question in [young(NOW), asks(NOW, NOW, Duration::ZERO), asks(NOW - 7 * HOUR_MS, NOW, AGE)] {
        let LookupFailed { reason, after } = history.look_up(question).await.unwrap_err();
        assert_eq!(reason, "down");
        assert!(after.is_some_and(|left| left < hour && left > hour / 2), "{after:?}");
    }
    assert_eq!((fake.polls().len(), fake.alone.lock().unwrap().len()), (1, 0));
    nobody_is_left(&history);
}

#[tokio::test]
async fn the_venue_is_asked_again_when_its_time_is_over() {
    let (fake, history) = set_up(9, [Err(failed(Some(Duration::from_millis(20)))), Err(failed(Some(Duration::ZERO)))]);
    let strict = asks(NOW, NOW, Duration::ZERO);
    assert_eq!(history.look_up(strict).await, Err(failed(Some(Duration::from_millis(20)))));
    while history.look_up(strict).await.is_err_and(|failed| failed.after.is_some()) {
        yield_now().await;
    }
    assert_eq!(history.look_up(strict).await, saw(NOW));
    assert_eq!(fake.polls().len(), 3);
}

#[tokio::test]
async fn a_failure_without_a_time_stands_as_long_as_a_look_would() {
    let (fake, history) = set_up(9, [Err(failed(None))]);
    for _ in 0..10 {
        assert_eq!(history.look_up(young(NOW)).await, Err(failed(None)));
    }
    assert_eq!(fake.polls().len(), 1);
    assert_eq!(history.look_up(asks(NOW, NOW, Duration::ZERO)).await, saw(NOW));
    assert_eq!(history.look_up(young(NOW)).await, saw(NOW));
}

/// A caller may make do with an old look; with an old failure it need not.
#[tokio::test]
async fn a_failure_stands_no_longer_than_it_may() {
    let (fake, _) = set_up(9, [Err(failed(None))]);
    let history =
        SharedHistory::new(Arc::clone(&fake) as Arc<dyn PayoutVenue>, Duration::from_secs(3_600), Duration::ZERO);
    assert_eq!(history.look_up(young(NOW)).await, Err(failed(None)));
    assert_eq!(history.look_up(young(NOW)).await, saw(NOW));
    assert_eq!(fake.polls().len(), 2);
}

/// A look that was good enough before a later one failed is still good enough.
#[tokio::test]
async fn a_failure_takes_no_look_away() {
    let (fake, history) = set_up(9, [Ok(vec![record("ours")]), Err(failed(Some(AGE)))]);
    history.look_up(young(NOW)).await.unwrap();
    history.look_up(asks(NOW, NOW, Duration::ZERO)).await.unwrap_err();
    assert_eq!(history.look_up(young(NOW)).await, saw(NOW));
    assert_eq!(fake.polls().len(), 2);
}

#[tokio::test]
async fn a_poll_goes_on_without_the_one_who_began_it() {
    let (fake, history) = set_up(0, []);
    let mut first = Box::pin(history.look_up(young(NOW)));
    assert!(futures::poll!(&mut first).is_pending());
    let second = spawn(&history, young(NOW));
    wait_for(&history, 2).await;
    drop(first);
    wait_for(&history, 1).await;
    fake.permits.add_permits(1);
    assert_eq!(second.await, saw(NOW));
    assert_eq!(fake.polls().len(), 1);
    nobody_is_left(&history);
}

#[tokio::test]
async fn who_goes_leaves_nothing_behind() {
    let (fake, history) = set_up(0, []);
    for waiting in [1, 3] {
        let mut callers: Vec<_> = (0..waiting).map(|_| Box::pin(history.look_up(young(NOW)))).collect();
        for caller in &mut callers {
            assert!(futures::poll!(caller).is_pending());
        }
        assert_eq!(lock(&history.state).waiting.len(), waiting);
        drop(callers);
        nobody_is_left(&history);
    }
    fake.permits.add_permits(1);
    assert_eq!(history.look_up(young(NOW)).await, saw(NOW));
}

#[tokio::test]
async fn an_old_payout_is_looked_up_alone_and_stretches_no_poll() {
    let (fake, history) = set_up(9, [Ok(vec![record("ours")])]);
    let from = NOW - 6 * HOUR_MS;
    assert_eq!(history.look_up(asks(from - 1, NOW, AGE)).await, saw(NOW));
    assert_eq!(*fake.alone.lock().unwrap(), [("ours".to_owned(), from - 1, NOW + 5)]);
    assert_eq!(fake.polls(), []);
    assert_eq!(history.look_up(asks(NOW, NOW, AGE)).await, saw(NOW));
    assert_eq!(fake.polls()[0].0, NOW - BEHIND_MS);
    assert_eq!(history.look_up(asks(from, NOW, AGE)).await, saw(NOW));
    assert_eq!((fake.polls().len(), fake.alone.lock().unwrap().len()), (2, 1));
}

/// The venue's word on being left alone counts whoever has heard it.
#[tokio::test]
async fn a_payout_that_is_looked_up_alone_is_refused_for_all() {
    let (fake, history) = set_up(9, [Err(failed(Some(AGE)))]);
    history.look_up(asks(NOW - 7 * HOUR_MS, NOW, AGE)).await.unwrap_err();
    assert!(history.look_up(young(NOW)).await.unwrap_err().after.is_some());
    assert_eq!(fake.polls(), []);
}
