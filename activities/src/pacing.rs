//! One local queue for each venue: a process asks the books for one slot at a time, for its most urgent call.

use std::{
    collections::BTreeMap,
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::{FutureExt, future::BoxFuture};
use tokio::{sync::Notify, time::Instant};

use crate::{
    books::{Books, BooksError, Priority, Slot},
    failure::Failure,
    venue::LookupFailed,
};

/// The longest that a caller is kept, unless told: who can't be served by then comes again, so that no activity sits out a
/// ban here.
const WAIT_MAX: Duration = Duration::from_secs(10);
/// How late a slot may still be used: a quarter of it, so that three quarters are left to the next call; and never less
/// than what a timer and a busy processor take, or a fast venue would see its slots forfeited one after the other.
const LATE_SHARE: u32 = 4;
const LATE_MIN: Duration = Duration::from_millis(5);
/// How soon somebody comes back who was not served. The wait was in the queue: the place there is lost, but for this long.
const COME_BACK: Duration = Duration::from_millis(100);
/// Whoever was passed over by so many better calls goes before all but cancels: however many lookups there are, orders get a
/// ninth of the slots. A cancel finds nobody before it but cancels.
const PASSED_MAX: u32 = 8;
/// What a venue that turns a call away without saying for how long is given.
const BACK_OFF: Duration = Duration::from_secs(1);

/// Why a caller got no turn.
#[derive(Debug, thiserror::Error)]
pub enum NoTurn<E> {
    /// Asking for a slot gave this.
    #[error(transparent)]
    Asking(E),
    /// There was none, or will be none, for too long to wait here.
    #[error("{why}")]
    NotNow {
        /// Why.
        why: String,
        /// How long to wait, if that is known.
        after: Option<Duration>,
    },
}

impl From<NoTurn<BooksError>> for Failure {
    fn from(no_turn: NoTurn<BooksError>) -> Self {
        match no_turn {
            NoTurn::Asking(error) => error.into(),
            NoTurn::NotNow { why, after } => Self::Again { kind: "NoSlot", message: why, after },
        }
    }
}

/// How a connector takes turns.
pub trait Pacer: Send + Sync + std::fmt::Debug {
    /// Waits for the venue's next slot. Returns the time to sign with, ms since 1970; `now_ms` is what the caller takes for
    /// the present.
    fn turn(&self, priority: Priority, now_ms: i64) -> BoxFuture<'_, Result<i64, LookupFailed>>;

    /// The venue has turned a call away, and wants to be left alone for so long.
    fn back_off<'a>(&'a self, after: Option<Duration>, why: &'a str) -> BoxFuture<'a, ()>;
}

/// Calls at once: for whoever is alone with a venue that does not mind.
#[derive(Clone, Copy, Debug)]
pub struct Unpaced;

impl Pacer for Unpaced {
    fn turn(&self, _priority: Priority, now_ms: i64) -> BoxFuture<'_, Result<i64, LookupFailed>> {
        futures::future::ready(Ok(now_ms)).boxed()
    }

    fn back_off<'a>(&'a self, _after: Option<Duration>, _why: &'a str) -> BoxFuture<'a, ()> {
        futures::future::ready(()).boxed()
    }
}

/// A venue's queue in this process. Only its head, the best of those who wait and of these the first, asks the books; so
/// that there are as few who contend there as there are processes.
#[derive(Debug)]
pub struct Lane {
    books: Books,
    venue: String,
    queue: Mutex<Queue>,
    wait_max: Duration,
}

#[derive(Debug, Default)]
struct Queue {
    next_ticket: u64,
    waiting: BTreeMap<(Priority, u64), Arc<Notify>>,
    /// How many better calls have gone before those that wait with a priority, since one of them went.
    passed: BTreeMap<Priority, u32>,
}

impl Queue {
    /// Who is next: the first of the best that wait, unless others were passed over too often and no cancel waits.
    fn head(&self) -> Option<(Priority, u64)> {
        if let Some(cancel) = self.first_of(Priority::Cancel) {
            return Some(cancel);
        }
        let mut passed_over = self.passed.iter().filter(|(_, times)| **times >= PASSED_MAX);
        let due = passed_over.find_map(|(priority, _)| self.first_of(*priority));
        due.or_else(|| self.waiting.first_key_value().map(|(key, _)| *key))
    }

    fn first_of(&self, priority: Priority) -> Option<(Priority, u64)> {
        self.waiting.range((priority, 0)..=(priority, u64::MAX)).next().map(|(key, _)| *key)
    }

    /// One with this priority has got its slot.
    fn served(&mut self, priority: Priority) {
        self.passed.remove(&priority);
        for worse in [Priority::Look, Priority::Send, Priority::Market] {
            if worse > priority && self.first_of(worse).is_some() {
                *self.passed.entry(worse).or_default() += 1;
            }
        }
    }

    fn leave(&mut self, key: (Priority, u64)) {
        self.waiting.remove(&key);
        if self.first_of(key.0).is_none() {
            self.passed.remove(&key.0);
        }
        if let Some(next) = self.head().and_then(|head| self.waiting.get(&head)) {
            next.notify_one();
        }
    }
}

/// A caller's place in the queue, given up however the caller ends.
struct Place<'a> {
    queue: &'a Mutex<Queue>,
    key: (Priority, u64),
    called: Arc<Notify>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        lock(self.queue).leave(self.key);
    }
}

impl Place<'_> {
    fn is_head(&self) -> bool {
        lock(self.queue).head() == Some(self.key)
    }
}

/// A slot that is ours, by this process' own clock.
struct Granted<T> {
    value: T,
    at: Instant,
    /// Past this it is forfeited.
    until: Option<Instant>,
}

impl Lane {
    /// The queue of this process for a venue, by its name in the books. One for each venue.
    pub fn new(books: Books, venue: &str) -> Self {
        Self { books, venue: venue.to_owned(), queue: Mutex::default(), wait_max: WAIT_MAX }
    }

    /// The same, but a caller is kept for so long at most.
    #[must_use]
    pub fn waiting_at_most(self, wait_max: Duration) -> Self {
        Self { wait_max, ..self }
    }

    /// Waits for this caller's turn, asks until a slot is granted, and returns what was granted when its time has come. A
    /// slot that was overslept is not used: `forfeit` takes its content back, and another is asked for.
    ///
    /// # Errors
    /// What `ask` and `forfeit` fail with; or that there is no slot soon.
    pub async fn turn<T, E, Asked, Forfeited>(
        &self,
        priority: Priority,
        ask: impl Fn() -> Asked,
        forfeit: impl Fn(T) -> Forfeited,
    ) -> Result<T, NoTurn<E>>
    where
        Asked: Future<Output = Result<Slot<T>, E>>,
        Forfeited: Future<Output = Result<(), E>>,
    {
        let give_up_at = Instant::now() + self.wait_max;
        loop {
            let Granted { value, at, until } = self.granted(priority, give_up_at, &ask).await?;
            tokio::time::sleep_until(at).await;
            if until.is_none_or(|until| Instant::now() <= until) {
                return Ok(value);
            }
            // Another is asked for: nobody has to know, but whoever wonders why a pace is not used up.
            tracing::debug!(venue = self.venue, "this process woke too late for a slot");
            forfeit(value).await.map_err(NoTurn::Asking)?;
        }
    }

    /// The venue's next slot, for a call that records nothing: waits for it, and returns the time to sign.
    ///
    /// # Errors
    /// When the books can't be reached, or there is no slot soon.
    pub async fn slot(&self, priority: Priority) -> Result<i64, NoTurn<BooksError>> {
        let ask = || self.books.venue_slot(&self.venue, priority);
        self.turn(priority, ask, |_| futures::future::ready(Ok(()))).await
    }

    /// Waits to be the head and asks until there is a slot; the head's place is free as soon as it is granted.
    async fn granted<T, E, Asked>(
        &self,
        priority: Priority,
        give_up_at: Instant,
        ask: &impl Fn() -> Asked,
    ) -> Result<Granted<T>, NoTurn<E>>
    where
        Asked: Future<Output = Result<Slot<T>, E>>,
    {
        let place = self.enter(priority);
        loop {
            if !place.is_head() {
                if tokio::time::timeout_at(give_up_at, place.called.notified()).await.is_err() {
                    let why = format!("too many want to call {}", self.venue);
                    return Err(NoTurn::NotNow { why, after: Some(COME_BACK) });
                }
                continue;
            }
            let asked = ask().await.map_err(NoTurn::Asking)?;
            let answered = Instant::now();
            match asked {
                Slot::Granted { value, wait, interval } => {
                    let at = answered + wait;
                    lock(&self.queue).served(priority);
                    let until = (!interval.is_zero()).then(|| at + (interval / LATE_SHARE).max(LATE_MIN));
                    return Ok(Granted { value, at, until });
                }
                Slot::Later { wait, why } if answered + wait > give_up_at => {
                    let why = why.map_or_else(String::new, |why| format!(" ({why})"));
                    let why = format!("{} is not to be called for {} ms{why}", self.venue, wait.as_millis());
                    return Err(NoTurn::NotNow { why, after: Some(wait) });
                }
                // A better call that comes meanwhile is the head then, and asks itself.
                Slot::Later { wait, .. } => tokio::time::sleep_until(answered + wait).await,
            }
        }
    }

    fn enter(&self, priority: Priority) -> Place<'_> {
        let mut queue = lock(&self.queue);
        let (key, called) = ((priority, queue.next_ticket), Arc::new(Notify::new()));
        queue.next_ticket += 1;
        queue.waiting.insert(key, Arc::clone(&called));
        Place { queue: &self.queue, key, called }
    }
}

impl Pacer for Lane {
    fn turn(&self, priority: Priority, _now_ms: i64) -> BoxFuture<'_, Result<i64, LookupFailed>> {
        async move {
            self.slot(priority).await.map_err(|no_turn| match no_turn {
                NoTurn::Asking(error) => LookupFailed { reason: error.to_string(), after: None },
                NoTurn::NotNow { why, after } => LookupFailed { reason: why, after },
            })
        }
        .boxed()
    }

    fn back_off<'a>(&'a self, after: Option<Duration>, why: &'a str) -> BoxFuture<'a, ()> {
        async move {
            let after = after.filter(|after| !after.is_zero()).unwrap_or(BACK_OFF);
            if let Err(error) = self.books.venue_back_off(&self.venue, after, why).await {
                tracing::warn!(venue = self.venue, %error, "the others are not told to leave the venue alone");
            }
        }
        .boxed()
    }
}

fn lock(queue: &Mutex<Queue>) -> MutexGuard<'_, Queue> {
    // Every change under this lock is whole before anything in it can panic.
    queue.lock().unwrap_or_else(PoisonError::into_inner)
}
