//! Deposits, on both sides.

use std::time::{Duration, Instant};

use backstop_domain::reconcile::{CheckReport, Deviation};
use serde_json::{Value, json};

use super::venue::{
    AHEAD_MS, ASK_AGAIN, DAY_MS, Seen, VenueCheck, agreed, look_back, millis, told, unreadable, until_committed,
};
use crate::{
    books::Books,
    failure::Failure,
    venue::{DepositRecord, DepositState, PayoutVenue},
};

/// How long a deposit is watched after it was booked.
const WATCHED_MS: i64 = 7 * DAY_MS;
/// By how much the venue may have seen it earlier than it could be booked.
const EARLIER_MS: i64 = 30 * DAY_MS;
/// One request of the venue's history spans less than 90 days.
const MOST_MS: i64 = 59 * DAY_MS;

/// How long a check waits for the deposits to be read, and how long after that nobody reads them any more.
const READ_LATE_MAX: Duration = Duration::from_secs(25);
const UNREAD_MIN: Duration = Duration::from_secs(300);
/// How long a round of the watch takes, beside its pause.
const WATCH_ROUND: Duration = Duration::from_secs(2);

/// Since when a venue's deposits are read: what came in before is nobody's business here.
pub(crate) fn since(venue: &str) -> String {
    format!("deposits/{venue}/since")
}

/// When the last reading of a venue's deposits began that came to its end.
pub(crate) fn read_at(venue: &str) -> String {
    format!("deposits/{venue}/read")
}

pub(super) async fn check(
    books: &Books,
    venue: &dyn PayoutVenue,
    watch_every: Duration,
    input: &VenueCheck,
) -> Result<CheckReport, Failure> {
    let check = format!("deposits/{}", input.venue);
    let (since_ms, now_ms) = books.watermark(&since(&input.venue)).await?;
    let (from_ms, closes_from_ms) = look_back(books, &check, now_ms, WATCHED_MS, MOST_MS).await?;
    let first = look(books, venue, &input.venue, from_ms, since_ms).await?;
    let mut seen = Seen::default();
    if !first.is_empty() {
        let is_read = is_read(books, &input.venue, watch_every).await?;
        until_committed(books, Duration::ZERO).await?;
        seen = agreed(first, look(books, venue, &input.venue, from_ms, since_ms).await?);
        if !is_read {
            let (early, certain) = seen.certain.into_iter().partition(|found| found.kind == "deposit_missing");
            seen.certain = certain;
            let early: Vec<Deviation> = early;
            seen.unclear.extend(early);
        }
    }
    let note = match since_ms {
        Some(_) => "deposits of a week, on both sides",
        None => "deposits of a week that are booked; nobody has read the venue's own yet",
    };
    told(books, (&check, Some(closes_from_ms)), input.run(), &seen, note.to_owned()).await
}

/// Waits a while until what shows at the venue now was read, so that what is not booked then is missing. Whether it was; or
/// whether nobody reads at all.
async fn is_read(books: &Books, venue: &str, watch_every: Duration) -> Result<bool, Failure> {
    let name = read_at(venue);
    let (_, seen_ms) = books.watermark(&name).await?;
    let until = Instant::now() + (watch_every + WATCH_ROUND).min(READ_LATE_MAX);
    loop {
        let (read_ms, now_ms) = books.watermark(&name).await?;
        if read_ms.is_some_and(|read_ms| read_ms > seen_ms) {
            return Ok(true);
        }
        if Instant::now() >= until {
            let unread_ms = i64::from(millis(UNREAD_MIN.max(2 * watch_every)));
            return Ok(read_ms.is_none_or(|read_ms| read_ms < now_ms - unread_ms));
        }
        tokio::time::sleep(ASK_AGAIN).await;
    }
}

async fn look(
    books: &Books,
    venue: &dyn PayoutVenue,
    name: &str,
    from_ms: i64,
    since_ms: Option<i64>,
) -> Result<Vec<Deviation>, Failure> {
    let (_, now_ms) = books.watermark("deposits").await?;
    let listing = venue.deposits(from_ms - EARLIER_MS, now_ms + AHEAD_MS, now_ms).await.map_err(unreadable)?;
    let records = Value::Array(listing.records.iter().map(shown).collect());
    let unreadable: Vec<&str> = listing.unreadable.iter().map(|deposit| deposit.id.as_str()).collect();
    Ok(books.check_deposits(name, &records, &unreadable, from_ms, since_ms, now_ms).await?)
}

/// A record in the words that the books compare by.
pub(super) fn shown(record: &DepositRecord) -> Value {
    let state = match record.state {
        DepositState::Pending => "pending",
        DepositState::Locked => "locked",
        DepositState::Final => "final",
        DepositState::Rejected => "rejected",
    };
    json!({"id": record.id, "asset": record.asset, "amount": record.amount, "state": state,
        "inserted_at_ms": record.inserted_at_ms})
}
