//! What a venue's records show that nobody asked about: deposits that came in, and payouts that were paid after they were
//! over.

use std::{sync::Arc, time::Duration};

use backstop_domain::RefusalKind;
use serde::{Deserialize, Serialize};
use serde_json::json;
use temporalio_macros::activities;
use temporalio_sdk::activities::{ActivityContext, ActivityError};

use crate::{
    beat::beating,
    books::{Books, BooksError},
    failure::Failure,
    reconcile::{
        VenueCheck,
        deposits::{read_at, since},
        orders, payouts,
    },
    venue::{DepositRecord, DepositState, LookupFailed, PayoutVenue, Spot},
};

/// The input of `venue_deposits` and `venue_review`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Observe {
    /// The venue, by its name in the books.
    pub venue: String,
}

/// Reads one venue's records, on that venue's own task queue.
pub struct ObservationActivities {
    /// The books.
    pub books: Books,
    /// The venue.
    pub venue: Arc<dyn PayoutVenue>,
    /// Its market.
    pub market: Arc<dyn Spot>,
    /// How long an executed withdrawal may be missing from its records.
    pub visibility: Duration,
}

/// The longest pause before a venue that could not be read is read again.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// Read again each time: a deposit may show later than the venue says that it came in.
const OVERLAP_MS: i64 = 3_600_000;
/// The venue stamps its records with its own clock: look a little further than now.
const AHEAD_MS: i64 = 60_000;
/// How long a deposit that can't be read or booked is read again each time. After that it stands in its finding only.
const HELD_MS: i64 = 7 * 24 * 3_600_000;

#[activities]
impl ObservationActivities {
    /// Books the deposits that the venue counts as final, each once. Rereads from the oldest that is not final; and, for up
    /// to seven days, from the oldest that could not be read or booked, which is a finding until it can.
    #[activity(name = "venue_deposits")]
    pub async fn deposits(self: Arc<Self>, ctx: ActivityContext, input: Observe) -> Result<String, ActivityError> {
        beating(&ctx, LONGEST_PAUSE, self.read_deposits(&input.venue)).await
    }

    /// Holds what the venue has paid against the payouts: none may have been paid twice, or after its return. And its open
    /// orders against those of the books, which record each before it is sent. As reconciliation does, but more often.
    #[activity(name = "venue_review")]
    pub async fn review(self: Arc<Self>, ctx: ActivityContext, input: Observe) -> Result<String, ActivityError> {
        beating(&ctx, LONGEST_PAUSE, self.review_all(&input.venue)).await
    }
}

/// What came of a deposit that is final.
enum Booking {
    New,
    Known,
    /// Not as it stands, or not yet: as when nobody knows its asset.
    Impossible,
}

impl ObservationActivities {
    async fn read_deposits(&self, venue: &str) -> Result<String, Failure> {
        let name = format!("deposits/{venue}");
        let (mark, now) = self.books.watermark(&name).await?;
        if mark.is_none() {
            self.books.watermark_set(&since(venue), now - OVERLAP_MS).await?;
        }
        let mark = mark.unwrap_or(now);
        let listing = self.venue.deposits(mark - OVERLAP_MS, now + AHEAD_MS, now).await.map_err(unreadable)?;
        let (mut booked, mut pending, mut amiss, mut next_mark) = (0, 0, 0, now);
        let held_from = |inserted_at_ms: i64| inserted_at_ms.max(now - HELD_MS);
        for record in &listing.records {
            match record.state {
                DepositState::Final => match self.book(venue, record).await? {
                    Booking::New => booked += 1,
                    Booking::Known => {}
                    Booking::Impossible => {
                        amiss += 1;
                        next_mark = next_mark.min(held_from(record.inserted_at_ms));
                    }
                },
                DepositState::Pending | DepositState::Locked => {
                    pending += 1;
                    next_mark = next_mark.min(record.inserted_at_ms);
                }
                DepositState::Rejected => {}
            }
        }
        for deposit in &listing.unreadable {
            amiss += 1;
            // Without a time of its own it came in somewhere in what was read now.
            next_mark = next_mark.min(held_from(deposit.inserted_at_ms.unwrap_or(mark)));
            let evidence = json!({"row": deposit.row, "why": deposit.why});
            let subject = format!("deposit/{venue}/{}", deposit.id);
            self.books.find("deposit_unreadable", &subject, "warning", &evidence).await?;
        }
        self.books.watermark_set(&name, next_mark).await?;
        self.books.watermark_set(&read_at(venue), now).await?;
        let read = listing.records.len() + listing.unreadable.len();
        Ok(format!(
            "{read} deposits read, {booked} of them new, {pending} not final yet, {amiss} not readable or bookable"
        ))
    }

    /// A record that can't be booked as it stands is a finding, and keeps no other from being booked.
    async fn book(&self, venue: &str, record: &DepositRecord) -> Result<Booking, Failure> {
        let (asset, network, tag) = (&record.asset, &record.network, record.tag.as_deref());
        let refusal = match self.books.deposit_observe(venue, &record.id, asset, network, &record.amount, tag).await {
            Ok(true) => return Ok(Booking::New),
            Ok(false) => return Ok(Booking::Known),
            Err(BooksError::Refused(refusal)) => refusal,
            Err(error) => return Err(error.into()),
        };
        let (kind, severity, booking) = match refusal.kind {
            RefusalKind::Conflict => ("deposit_differs", "critical", Booking::Known),
            _ => ("deposit_not_bookable", "warning", Booking::Impossible),
        };
        let evidence = json!({"asset_id": asset, "network": network, "amount": record.amount, "tag": tag,
            "tx_id": record.tx_id, "why": refusal.message});
        self.books.find(kind, &format!("deposit/{venue}/{}", record.id), severity, &evidence).await?;
        Ok(booking)
    }

    async fn review_all(&self, venue: &str) -> Result<String, Failure> {
        let began_us = self.books.now_us().await?;
        let input = VenueCheck { run: format!("watch/{venue}/{began_us}"), began_us, venue: venue.to_owned() };
        // What can't be read of the one is no reason not to look at the other.
        let payouts = payouts::check(&self.books, self.venue.as_ref(), self.visibility, &input).await;
        let orders = orders::check_open(&self.books, self.market.as_ref(), &input).await;
        let (payouts, orders) = (payouts?.deviations, orders?);
        Ok(format!("withdrawals of a week: {payouts} that should not be; open orders: {orders}"))
    }
}

fn unreadable(LookupFailed { reason, after }: LookupFailed) -> Failure {
    Failure::Again { kind: "LookupFailed", message: format!("the venue's records could not be read: {reason}"), after }
}
