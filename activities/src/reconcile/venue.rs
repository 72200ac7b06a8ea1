//! A venue's records held against the books, on that venue's own task queue.

use std::{
    collections::HashSet,
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};

use backstop_domain::reconcile::{CheckReport, Deviation};
use serde::{Deserialize, Serialize};
use temporalio_macros::activities;
use temporalio_sdk::activities::{ActivityContext, ActivityError};

use super::{custody::Holding, deposits, orders, payouts, report};
use crate::{
    beat::beating,
    books::{Books, Look, STATEMENT_MAX},
    failure::Failure,
    venue::{LookupFailed, PayoutVenue, Spot},
};

/// The longest pause before a venue that could not be read is read again.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// From one look to the next, of which both have to say the same.
pub(super) const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// What a venue's answer is that says nothing.
pub(super) const UNREADABLE: &str = "LookupFailed";
/// The venue stamps its records with its own clock: look a little further than now.
pub(super) const AHEAD_MS: i64 = 60_000;
/// Between two questions whether what was under way has ended.
pub(super) const ASK_AGAIN: Duration = Duration::from_millis(200);
pub(super) const DAY_MS: i64 = 24 * 3_600_000;

/// The input of a venue's check.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct VenueCheck {
    /// The run, by a name that stays the same when the check is tried again.
    pub run: String,
    /// When it began, by the books' clock, in µs: it closes no finding that another run has seen since.
    #[serde(default)]
    pub began_us: i64,
    /// The venue, by its name in the books.
    pub venue: String,
}

impl VenueCheck {
    pub(super) fn run(&self) -> (&str, i64) {
        (&self.run, self.began_us)
    }
}

/// The checks of one venue.
pub struct VenueChecks {
    /// The books.
    pub books: Books,
    /// The venue.
    pub venue: Arc<dyn PayoutVenue>,
    /// Its market.
    pub market: Arc<dyn Spot>,
    /// How long an executed withdrawal, or an order, may be missing from its records.
    pub visibility: Duration,
    /// From one reading of the deposits to the next; zero: this process does not read them.
    pub watch_every: Duration,
}

#[activities]
impl VenueChecks {
    /// The payouts of a week, and the venue's withdrawals.
    #[activity(name = "check_payouts")]
    pub async fn payouts(
        self: Arc<Self>,
        ctx: ActivityContext,
        input: VenueCheck,
    ) -> Result<CheckReport, ActivityError> {
        let check = payouts::check(&self.books, self.venue.as_ref(), self.visibility, &input);
        beating(&ctx, LONGEST_PAUSE, check).await
    }

    /// The orders that are open or ended within a day, and the trades of that day, on both sides.
    #[activity(name = "check_orders")]
    pub async fn orders(
        self: Arc<Self>,
        ctx: ActivityContext,
        input: VenueCheck,
    ) -> Result<CheckReport, ActivityError> {
        let check = orders::check(&self.books, self.market.as_ref(), self.visibility, &input);
        beating(&ctx, LONGEST_PAUSE, check).await
    }

    /// The deposits of a week, on both sides.
    #[activity(name = "check_deposits")]
    pub async fn deposits(
        self: Arc<Self>,
        ctx: ActivityContext,
        input: VenueCheck,
    ) -> Result<CheckReport, ActivityError> {
        let check = deposits::check(&self.books, self.venue.as_ref(), self.watch_every, &input);
        beating(&ctx, LONGEST_PAUSE, check).await
    }

    /// What the venue holds, and what of it is about to be booked.
    #[activity(name = "venue_holdings")]
    pub async fn holdings(
        self: Arc<Self>,
        ctx: ActivityContext,
        input: VenueCheck,
    ) -> Result<Vec<Holding>, ActivityError> {
        beating(&ctx, LONGEST_PAUSE, self.look_at_holdings(&input.venue)).await
    }
}

/// How far back a check looks that needs so much: further where it has found something then that nobody answers for. Also
/// gives since when findings are over that it does not see: whatever is older than the most that a venue shows is neither
/// seen nor gone.
pub(super) async fn look_back(
    books: &Books,
    check: &str,
    now_ms: i64,
    needed_ms: i64,
    most_ms: i64,
) -> Result<(i64, i64), Failure> {
    let oldest_ms = books.oldest_finding_ms(check).await?.unwrap_or(now_ms).min(now_ms);
    let from_ms = (oldest_ms - needed_ms).max(now_ms - most_ms);
    Ok((from_ms, from_ms + needed_ms))
}

/// What two looks have shown.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// What both say alike.
    pub(super) certain: Vec<Deviation>,
    /// What one of them says, or what moved in between.
    pub(super) unclear: Vec<Deviation>,
}

impl Seen {
    pub(super) fn add(&mut self, more: Self) {
        self.certain.extend(more.certain);
        self.unclear.extend(more.unclear);
    }
}

/// Believes what two looks say alike, a pause apart: of a row that did not move in between, as its version is among what
/// they say. What was being booked at the first look is committed at the second, or will not be.
pub(super) async fn seen_twice<F>(books: &Books, look: impl Fn() -> F) -> Result<Seen, Failure>
where
    F: Future<Output = Result<Vec<Deviation>, Failure>>,
{
    let first = look().await?;
    if first.is_empty() {
        return Ok(Seen::default());
    }
    until_committed(books, LOOK_AGAIN).await?;
    Ok(agreed(first, look().await?))
}

/// Waits until every transaction that is under way is over, and at least for that long.
pub(super) async fn until_committed(books: &Books, at_least: Duration) -> Result<(), Failure> {
    let horizon = books.horizon().await?;
    tokio::time::sleep(at_least).await;
    let until = Instant::now() + STATEMENT_MAX;
    while !books.has_passed(&horizon).await? && Instant::now() < until {
        tokio::time::sleep(ASK_AGAIN).await;
    }
    Ok(())
}

/// What two looks say alike, and what they don't.
pub(super) fn agreed(first: Vec<Deviation>, second: Vec<Deviation>) -> Seen {
    let mut seen = Seen::default();
    let mut known = HashSet::new();
    for deviation in second {
        // Of several of a kind and subject, one says enough.
        if first.contains(&deviation) && known.insert((deviation.kind.clone(), deviation.subject.clone())) {
            seen.certain.push(deviation);
        } else {
            seen.unclear.push(deviation);
        }
    }
    seen.unclear.extend(first);
    seen
}

/// Takes down what a venue's check has come to.
pub(super) async fn told(
    books: &Books,
    (check, closes_from_ms): (&str, Option<i64>),
    (run, began_us): (&str, i64),
    seen: &Seen,
    note: String,
) -> Result<CheckReport, Failure> {
    let look = Look { check, run, closes_from_ms, began_us, deviations: &seen.certain, unclear: &seen.unclear };
    Ok(CheckReport { note, ..report(books, look).await? })
}

pub(super) fn unreadable(LookupFailed { reason, after }: LookupFailed) -> Failure {
    Failure::Again { kind: UNREADABLE, message: format!("the venue could not be read: {reason}"), after }
}

pub(super) fn millis(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis()).unwrap_or(i32::MAX)
}
