//! Deposits, on both sides.

use std::time::Duration;

use backstop_domain::reconcile::{CheckReport, Deviation};
use serde_json::{Value, json};

use super::venue::{AHEAD_MS, DAY_MS, VenueCheck, look_back, seen_twice, told, unreadable};
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

/// Since when a venue's deposits are read: what came in before is nobody's business here.
pub(crate) fn since(venue: &str) -> String {
    format!("deposits/{venue}/since")
}

pub(super) async fn check(
    books: &Books,
    venue: &dyn PayoutVenue,
    rhythm: Duration,
    input: &VenueCheck,
) -> Result<CheckReport, Failure> {
    let check = format!("deposits/{}", input.venue);
    let (since_ms, now_ms) = books.watermark(&since(&input.venue)).await?;
    let (from_ms, closes_from_ms) = look_back(books, &check, now_ms, WATCHED_MS, MOST_MS).await?;
    // What came in just now is booked by whoever reads deposits, before the second look.
    let seen = seen_twice(books, rhythm, || look(books, venue, &input.venue, from_ms, since_ms)).await?;
    let note = match since_ms {
        Some(_) => "deposits of a week, on both sides",
        None => "deposits of a week that are booked; nobody has read the venue's own yet",
    };
    told(books, (&check, Some(closes_from_ms)), input.run(), &seen, note.to_owned()).await
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
