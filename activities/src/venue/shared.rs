//! One look at the venue's history for everybody who wants to know.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use futures::{
    FutureExt,
    future::{BoxFuture, Shared, WeakShared},
};

use super::{LookupFailed, PayoutVenue, WithdrawalRecord};

#[cfg(test)]
mod tests;

/// The venue stamps its records with its own clock: look a little further than the present.
const AHEAD_MS: i64 = 60_000;
/// How much further back a poll looks than it must: a payout that was sent a little earlier and asks a little later needs
/// no poll of its own.
const BEHIND_MS: i64 = 600_000;

/// What is asked about one payout.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// The client id of its withdrawals.
    pub client_id: &'a str,
    /// Nothing was sent before, ms since 1970.
    pub from_ms: i64,
    /// Nothing can have been made after; only a payout that is looked up by itself needs it.
    pub until_ms: i64,
    /// The books' clock, read before asking.
    pub now_ms: i64,
    /// How old an answer may be. None at all: the look at the venue begins after the question.
    pub max_age: Duration,
}

/// What the venue's history showed of a payout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// Every record with its client id.
    pub records: Vec<WithdrawalRecord>,
    /// A time of the books' clock before the look at the venue began: absence is proven as of then, never as of now.
    pub looked_at_ms: i64,
}

/// Polls the venue's history once for all payouts that ask. The request weighs 18,000 of the 180,000 that an account may
/// use in a minute (Wallet API, "Withdraw History" and REST API, "Limits"), whatever it asks for. For one process.
pub struct SharedHistory {
    venue: Arc<dyn PayoutVenue>,
    span_ms: i64,
    failure_stands: Duration,
    state: Arc<Mutex<State>>,
}

type Outcome = Result<Arc<Snapshot>, LookupFailed>;
/// Whoever waits for a poll drives it: when one goes, the others go on, and with the last one the poll is gone.
type Poll = Shared<BoxFuture<'static, Outcome>>;

/// When a poll began, and for whom.
#[derive(Clone, Copy)]
struct Beginning {
    /// All who asked with a lower ticket asked before.
    ticket: u64,
    at: Instant,
    looked_at_ms: i64,
    from_ms: i64,
}

struct Snapshot {
    beginning: Beginning,
    records: HashMap<String, Vec<WithdrawalRecord>>,
}

struct State {
    snapshot: Option<Arc<Snapshot>>,
    /// When the last poll began, if it failed, and why.
    failed: Option<(Instant, String)>,
    /// Until when the venue wants to be left alone (`Retry-After`), and why.
    closed: Option<(Instant, String)>,
    under_way: Option<WeakShared<BoxFuture<'static, Outcome>>>,
    /// Everybody whose question is not answered yet, by ticket.
    waiting: BTreeMap<u64, Asked>,
    next_ticket: u64,
    /// The earliest time that the last poll was wanted for, or that anybody has asked for since. The next poll covers it,
    /// too: payouts of different age come back in any order, and each would otherwise make a poll of its own.
    asked_from_ms: i64,
}

#[derive(Clone, Copy)]
struct Asked {
    from_ms: i64,
    now_ms: i64,
    at: Instant,
}

/// A caller's place in the queue, given up however the caller ends.
struct Place<'a> {
    state: &'a Mutex<State>,
    ticket: u64,
    at: Instant,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        lock(self.state).waiting.remove(&self.ticket);
    }
}

impl SharedHistory {
    /// Shares the history of `venue` among payouts that are younger than `span`; each that is older is looked up by
    /// itself, so that it does not stretch everybody's poll. A poll that has failed is not repeated for `failure_stands`,
    /// nor for the age that a caller makes do with, whichever is shorter.
    pub fn new(venue: Arc<dyn PayoutVenue>, span: Duration, failure_stands: Duration) -> Self {
        let state = State {
            snapshot: None,
            failed: None,
            closed: None,
            under_way: None,
            waiting: BTreeMap::new(),
            next_ticket: 0,
            asked_from_ms: i64::MAX,
        };
        Self { venue, span_ms: millis(span), failure_stands, state: Arc::new(Mutex::new(state)) }
    }

    /// Every record of a payout, by a look at the venue that began at most `max_age` before the question.
    ///
    /// # Errors
    /// When the history could not be read, with what is left of the venue's `Retry-After`.
    pub async fn look_up(&self, question: Question<'_>) -> Result<Sighting, LookupFailed> {
        if question.now_ms - question.from_ms > self.span_ms {
            return self.look_up_alone(question).await;
        }
        let place = self.take_place(&question);
        loop {
            let poll = {
                let mut state = lock(&self.state);
                if let Some(sighting) = state.snapshot.as_ref().and_then(|seen| seen.answer(&question, &place)) {
                    return Ok(sighting);
                }
                state.may_ask()?;
                state.has_not_just_failed(question.max_age.min(self.failure_stands), &place)?;
                let under_way = state.under_way.as_ref().and_then(WeakShared::upgrade);
                under_way.unwrap_or_else(|| self.begin(&mut state))
            };
            // What it shows may be too old or too short for this caller, who then looks again: at most once, because the
            // next poll begins after the question.
            let seen = poll.await?;
            if let Some(sighting) = seen.answer(&question, &place) {
                return Ok(sighting);
            }
        }
    }

    async fn look_up_alone(&self, question: Question<'_>) -> Result<Sighting, LookupFailed> {
        lock(&self.state).may_ask()?;
        let Question { client_id, from_ms, until_ms, now_ms, .. } = question;
        match self.venue.withdrawals(client_id, from_ms, until_ms, now_ms).await {
            Ok(records) => Ok(Sighting { records, looked_at_ms: now_ms }),
            Err(failed) => Err(lock(&self.state).mind(failed)),
        }
    }

    fn take_place(&self, question: &Question<'_>) -> Place<'_> {
        let mut state = lock(&self.state);
        let (ticket, at) = (state.next_ticket, Instant::now());
        state.next_ticket += 1;
        state.asked_from_ms = state.asked_from_ms.min(question.from_ms);
        state.waiting.insert(ticket, Asked { from_ms: question.from_ms, now_ms: question.now_ms, at });
        Place { state: &self.state, ticket, at }
    }

    /// Begins a poll for everybody who waits, the caller among them.
    fn begin(&self, state: &mut State) -> Poll {
        let at = Instant::now();
        // Whoever waits has read the clock before: the latest of these times is still before this poll.
        let looked_at_ms = state.waiting.values().map(|asked| asked.now_ms).max().unwrap_or_default();
        let wanted_ms = state.waiting.values().map(|asked| asked.from_ms).min().unwrap_or(looked_at_ms);
        let from_ms = wanted_ms.min(state.asked_from_ms.max(looked_at_ms - self.span_ms)) - BEHIND_MS;
        // A caller may have waited for the poll before this one; the venue wants the time of today.
        let present = |asked: &Asked| asked.now_ms + millis(at.saturating_duration_since(asked.at));
        let signed_at_ms = state.waiting.values().map(present).max().unwrap_or(looked_at_ms);
        let beginning = Beginning { ticket: state.next_ticket, at, looked_at_ms, from_ms };
        let (venue, shared) = (Arc::clone(&self.venue), Arc::clone(&self.state));
        let poll = async move {
            let outcome = venue.history(from_ms, signed_at_ms + AHEAD_MS, signed_at_ms).await;
            lock(&shared).end(beginning, outcome)
        };
        let poll = poll.boxed().shared();
        state.asked_from_ms = wanted_ms;
        state.under_way = poll.downgrade();
        poll
    }
}

impl State {
    fn end(&mut self, beginning: Beginning, outcome: Result<Vec<WithdrawalRecord>, LookupFailed>) -> Outcome {
        self.under_way = None;
        match outcome {
            Ok(found) => {
                let mut records: HashMap<String, Vec<WithdrawalRecord>> = HashMap::new();
                for record in found {
                    // What was made by hand, or by another program, is nobody's here.
                    let Some(client_id) = record.client_id.clone() else { continue };
                    records.entry(client_id).or_default().push(record);
                }
                let snapshot = Arc::new(Snapshot { beginning, records });
                (self.snapshot, self.failed) = (Some(Arc::clone(&snapshot)), None);
                Ok(snapshot)
            }
            Err(failed) => {
                self.failed = Some((beginning.at, failed.reason.clone()));
                Err(self.mind(failed))
            }
        }
    }

    /// Remembers for how long the venue wants to be left alone.
    fn mind(&mut self, LookupFailed { reason, after }: LookupFailed) -> LookupFailed {
        // No time at all is no time to wait for: the caller takes its own.
        let after = after.filter(|after| !after.is_zero());
        let until = after.and_then(|after| Instant::now().checked_add(after));
        let known = self.closed.as_ref().map(|(known, _)| *known);
        if let Some(until) = until.filter(|until| known.is_none_or(|known| *until > known)) {
            self.closed = Some((until, reason.clone()));
        }
        LookupFailed { reason, after }
    }

    /// Refuses while the venue wants to be left alone.
    fn may_ask(&self) -> Result<(), LookupFailed> {
        let Some((until, reason)) = &self.closed else { return Ok(()) };
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() { Ok(()) } else { Err(LookupFailed { reason: reason.clone(), after: Some(left) }) }
    }

    /// A poll that has failed stands for a while, as one that has not: what is down is not asked once for every payout.
    fn has_not_just_failed(&self, stands: Duration, place: &Place<'_>) -> Result<(), LookupFailed> {
        match &self.failed {
            Some((began, reason)) if place.at.saturating_duration_since(*began) < stands => {
                Err(LookupFailed { reason: reason.clone(), after: None })
            }
            _ => Ok(()),
        }
    }
}

impl Snapshot {
    /// What this says to a question, unless it is too old for it or does not reach back far enough.
    fn answer(&self, question: &Question<'_>, place: &Place<'_>) -> Option<Sighting> {
        let Beginning { ticket, at, looked_at_ms, from_ms } = self.beginning;
        let looked_at_ms = if place.ticket < ticket {
            looked_at_ms
        } else {
            // By both clocks: the books' may be set back, when a standby takes over.
            let young = place.at.saturating_duration_since(at) < question.max_age
                && question.now_ms - looked_at_ms <= millis(question.max_age);
            if !young {
                return None;
            }
            looked_at_ms.min(question.now_ms)
        };
        let records = || self.records.get(question.client_id).cloned().unwrap_or_default();
        (from_ms <= question.from_ms).then(|| Sighting { records: records(), looked_at_ms })
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    // Every change under this lock is whole before anything in it can panic.
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
