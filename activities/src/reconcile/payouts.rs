//! Payouts, and what a venue shows as paid. The watch looks in the same way.

use std::time::Duration;

use backstop_domain::reconcile::{CheckReport, Deviation};
use serde_json::{Value, json};

use super::venue::{AHEAD_MS, DAY_MS, VenueCheck, look_back, millis, seen_twice, told, unreadable};
use crate::{
    books::Books,
    failure::Failure,
    venue::{PayoutVenue, RecordState, WithdrawalRecord},
};

/// How long a payout is watched after it is over.
const WATCHED_MS: i64 = 7 * DAY_MS - 2 * AHEAD_MS;
/// One request of the venue's history spans less than 90 days.
const MOST_MS: i64 = 89 * DAY_MS;

pub(crate) async fn check(
    books: &Books,
    venue: &dyn PayoutVenue,
    visibility: Duration,
    input: &VenueCheck,
) -> Result<CheckReport, Failure> {
    let check = format!("payouts/{}", input.venue);
    let (_, now_ms) = books.watermark(&check).await?;
    let (from_ms, closes_from_ms) = look_back(books, &check, now_ms, WATCHED_MS, MOST_MS).await?;
    let seen = seen_twice(books, || look(books, venue, visibility, &input.venue, from_ms)).await?;
    let note = "payouts that are open or were so within a week, and the venue's withdrawals".to_owned();
    told(books, (&check, Some(closes_from_ms)), input.run(), &seen, note).await
}

async fn look(
    books: &Books,
    venue: &dyn PayoutVenue,
    visibility: Duration,
    name: &str,
    from_ms: i64,
) -> Result<Vec<Deviation>, Failure> {
    let (_, now_ms) = books.watermark("payouts").await?;
    let records = venue.history(from_ms, now_ms + AHEAD_MS, now_ms).await.map_err(unreadable)?;
    let records = Value::Array(records.iter().map(shown).collect());
    Ok(books.check_payouts(name, &records, from_ms, now_ms, millis(visibility)).await?)
}

/// A record in the words that the books compare by.
pub(super) fn shown(record: &WithdrawalRecord) -> Value {
    let state = match record.state {
        RecordState::Pending => "pending",
        RecordState::Completed => "completed",
        RecordState::Failed => "failed",
    };
    json!({"id": record.id, "client_id": record.client_id, "state": state, "received": record.received,
        "network_fee": record.network_fee, "completed_at": record.completed_at})
}
