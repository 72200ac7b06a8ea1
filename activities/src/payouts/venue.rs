use std::{sync::Arc, time::Duration};

use backstop_domain::{
    Refusal, RefusalKind, Verdict,
    machine::{AttemptState, PayoutState},
    payout::{Confirmed, PaidRecord, PayoutOrder, PayoutReceipt, Submitted},
};
use serde_json::json;
use temporalio_macros::activities;
use temporalio_sdk::activities::{ActivityContext, ActivityError};

use super::{Confirm, KnownAttempts, Resolve, send::Clear};
use crate::{
    beat::beating,
    books::{AttemptRow, Books},
    failure::Failure,
    pacing::Lane,
    venue::{LookupFailed, PayoutVenue, Question, RecordState, SharedHistory, Sighting, WithdrawalRecord},
};

/// How long this venue may take, and how often it is asked.
#[derive(Clone, Copy, Debug)]
pub struct VenuePatience {
    /// How long after its timestamp the venue accepts a request.
    pub receive_window: Duration,
    /// How long after that an executed withdrawal may still be missing from the history: the venue's visibility lag plus
    /// the most its clock may differ from the books'.
    pub visibility: Duration,
    /// The longest pause between two lookups of one payout.
    pub poll_max: Duration,
    /// Up to which age, counted from their first attempt, payouts are looked up together.
    pub shared_span: Duration,
}

impl VenuePatience {
    /// How old a look at the venue may be that a lookup makes do with. Two thirds of the longest pause: many payouts then
    /// cost about one poll per pause, and with the default of 10 s there are at most 9 of the 10 that Binance allows in a
    /// minute ([`SharedHistory`]).
    pub(super) fn max_age(&self) -> Duration {
        self.poll_max * 2 / 3
    }
}

/// Calls of one venue, on that venue's own task queue.
pub struct VenueActivities {
    /// The books, where every attempt is recorded before it is sent.
    pub(super) books: Books,
    pub(super) venue: Arc<dyn PayoutVenue>,
    /// Where sends wait for their slots.
    pub(super) lane: Arc<Lane>,
    pub(super) history: SharedHistory,
    /// For looking long back, at what the books may have forgotten.
    pub(super) long_history: SharedHistory,
    pub(super) patience: VenuePatience,
}

/// The longest pause before what was not sent is sent again, unless the venue names one.
const RESEND_MAX: Duration = Duration::from_secs(10);
/// How much less often a payout is looked up once an operator has been called.
const SLOWER: u32 = 6;
/// The venue stamps its record with its own clock and whole seconds: look a little further on both sides.
pub(super) const RECORD_MARGIN: Duration = Duration::from_secs(60);
const RECORD_MARGIN_MS: i64 = 60_000;
/// The longest time that any look shares.
const LONG_SPAN: Duration = Duration::from_secs(8 * 24 * 3_600);

#[activities]
impl VenueActivities {
    /// Records an attempt and sends it. What was certainly not sent fails, and is tried again by the retry policy; what
    /// may have been sent is an answer.
    #[activity(name = "venue_submit")]
    pub async fn submit(self: Arc<Self>, ctx: ActivityContext, order: PayoutOrder) -> Result<Submitted, ActivityError> {
        // An execution that ends with a failure says so itself, unless it leaves a send behind. One that says nothing, as
        // when its worker died, may have got anywhere.
        let before = ctx.heartbeat_details().deserialize::<u32>().ok().flatten().unwrap_or_default();
        let clear = Clear::new(ctx.info().attempt == before + 1);
        let sent = beating(&ctx, RESEND_MAX, self.send(&order, &clear)).await;
        if sent.is_err() && clear.get() {
            let _ = ctx.record_heartbeat(ctx.info().attempt).await;
        }
        sent
    }

    /// Looks a payout up in the venue's record until it says something final; "not yet" fails, and is tried again.
    #[activity(name = "venue_confirm")]
    pub async fn confirm(self: Arc<Self>, ctx: ActivityContext, input: Confirm) -> Result<Confirmed, ActivityError> {
        let longest = if input.slowly { self.patience.poll_max * SLOWER } else { self.patience.poll_max };
        beating(&ctx, longest, self.look_up(&input)).await
    }

    /// Ends a payout on an operator's word, unless the venue's record contradicts it.
    #[activity(name = "venue_resolve")]
    pub async fn resolve(
        self: Arc<Self>,
        ctx: ActivityContext,
        input: Resolve,
    ) -> Result<PayoutReceipt, ActivityError> {
        beating(&ctx, self.patience.poll_max, self.end_by_operator(&input)).await
    }
}

impl VenueActivities {
    /// Calls `venue`, whose every attempt `books` records before it is sent, in a slot that `lane` has waited for.
    pub fn new(books: Books, venue: Arc<dyn PayoutVenue>, lane: Arc<Lane>, patience: VenuePatience) -> Self {
        let shared = |span| SharedHistory::new(Arc::clone(&venue), span, patience.max_age());
        let (history, long_history) = (shared(patience.shared_span), shared(LONG_SPAN));
        Self { books, venue, lane, history, long_history, patience }
    }

    async fn look_up(&self, input: &Confirm) -> Result<Confirmed, Failure> {
        let payout = &input.order.as_ref();
        let attempts = self.attempts_or_restored(&input.order, &input.known).await?;
        let receipt = self.books.payout(&payout.payout_id).await?.receipt;
        if receipt.state.is_final() {
            return Ok(Confirmed::Over(Box::new(receipt)));
        }
        let live: Vec<&AttemptRow> = attempts.iter().filter(|attempt| attempt.state.is_live()).collect();
        let Some(now_ms) = live.first().map(|attempt| attempt.now_ms) else { return Ok(Confirmed::Absent) };
        let void_after_ms = live.iter().map(|attempt| attempt.void_after_ms).max().unwrap_or(now_ms);
        let Sighting { records, looked_at_ms } =
            self.records(&receipt.client_id, &attempts, self.patience.max_age()).await?;
        let of = |state| records.iter().filter(move |record: &&WithdrawalRecord| record.state == state);
        if of(RecordState::Completed).chain(of(RecordState::Pending)).count() > 1 {
            let ids: Vec<&str> = records.iter().map(|record| record.id.as_str()).collect();
            let evidence = json!({"withdrawals": ids});
            self.books.find("payout_sent_twice", payout.payout_id.as_str(), "critical", &evidence).await?;
        }
        if let Some(record) = of(RecordState::Completed).next() {
            return Ok(Confirmed::Paid(paid_record(record)));
        }
        let not_yet = |message| Err(Failure::Again { kind: "NotConfirmedYet", message, after: None });
        if let Some(record) = of(RecordState::Pending).next() {
            return not_yet(format!("withdrawal {} is still on its way at the venue", record.id));
        }
        // A failed record speaks for its own attempt, and for what was visible when the look at the venue began.
        let accounted = |attempt: &&AttemptRow| {
            attempt.venue_reference.as_ref().is_none_or(|id| records.iter().any(|record| record.id == *id))
        };
        match records.first() {
            Some(failed) if looked_at_ms > void_after_ms && live.iter().all(accounted) => {
                let accepted = live.iter().find_map(|attempt| attempt.venue_reference.clone());
                Ok(Confirmed::Failed {
                    venue_reference: accepted.unwrap_or_else(|| failed.id.clone()),
                    reason: format!("failed at the venue: {}", failed.info),
                })
            }
            Some(failed) => not_yet(format!("withdrawal {} failed; another attempt may still show", failed.id)),
            None if self.books.payout_attempts_vanish(payout, looked_at_ms).await? == 0 => Ok(Confirmed::Absent),
            None => not_yet(not_found(&live, void_after_ms - now_ms)),
        }
    }

    async fn attempts_or_restored(
        &self,
        order: &PayoutOrder,
        known: &KnownAttempts,
    ) -> Result<Vec<AttemptRow>, Failure> {
        let attempts = self.books.payout_attempts(&order.payout_id).await?;
        // Nobody looks a payout up that was not attempted: books that know of no attempt have lost it.
        let known = KnownAttempts { count: known.count.max(1), ..known.clone() };
        if attempts.len() >= known.count as usize {
            return Ok(attempts);
        }
        self.restore(order, &known).await?;
        Ok(self.books.payout_attempts(&order.payout_id).await?)
    }

    /// The venue's complete record of a payout, from its first attempt on, by a look that may be as old as `max_age`.
    async fn records(&self, client_id: &str, attempts: &[AttemptRow], max_age: Duration) -> Result<Sighting, Failure> {
        let first = attempts.iter().map(|attempt| attempt.signed_at_ms).min();
        let last = attempts.iter().map(|attempt| attempt.void_after_ms).max();
        let now = attempts.iter().map(|attempt| attempt.now_ms).min();
        let (Some(first), Some(last), Some(now_ms)) = (first, last, now) else {
            return Ok(Sighting { records: Vec::new(), looked_at_ms: 0 });
        };
        let (from_ms, until_ms) = (first - RECORD_MARGIN_MS, last + RECORD_MARGIN_MS);
        let question = Question { client_id, from_ms, until_ms, now_ms, max_age };
        self.history.look_up(question).await.map_err(unreadable)
    }

    async fn end_by_operator(&self, input: &Resolve) -> Result<PayoutReceipt, Failure> {
        let (payout, resolution) = (&input.order.as_ref(), &input.resolution);
        let attempts = self.attempts_or_restored(&input.order, &input.known).await?;
        let mut receipt = self.books.payout(&payout.payout_id).await?.receipt;
        if receipt.state == PayoutState::Attempted {
            // Its workflow has asked this person: books that don't know of it have lost that.
            let evidence = "an operator was asked, says its workflow";
            receipt = self.books.payout_escalate(payout, evidence).await?.receipt;
        }
        if receipt.state.is_final() {
            let looked_at_ms = attempts.iter().map(|attempt| attempt.now_ms).min().unwrap_or_default();
            return Ok(self.books.payout_resolve(payout, resolution, looked_at_ms).await?.receipt);
        }
        // A person may know of something that happened since the venue was looked at last.
        let Sighting { records, looked_at_ms } = self.records(&receipt.client_id, &attempts, Duration::ZERO).await?;
        let executed = resolution.verdict == Verdict::Executed;
        let of = |state| records.iter().find(|record| record.state == state);
        let contradiction = |record: &WithdrawalRecord, says: &str| {
            Failure::Refused(Refusal {
                kind: RefusalKind::Contradicted,
                message: format!("the venue's record says that withdrawal {} {says}", record.id),
                detail: json!({"venue_reference": record.id, "says": says}),
            })
        };
        let states = (of(RecordState::Completed), of(RecordState::Pending), of(RecordState::Failed));
        let standing = match states {
            (Some(record), _, _) if executed => self.books.payout_settle(payout, &paid_record(record)).await?,
            (Some(record), _, _) => return Err(contradiction(record, "is completed")),
            (None, Some(record), _) => return Err(contradiction(record, "is still on its way")),
            (None, None, Some(record)) if executed => return Err(contradiction(record, "failed")),
            (None, None, _) => self.books.payout_resolve(payout, resolution, looked_at_ms).await?,
        };
        Ok(standing.receipt)
    }
}

pub(super) fn unreadable(LookupFailed { reason, after }: LookupFailed) -> Failure {
    let message = format!("the venue's history could not be read: {reason}");
    Failure::Again { kind: "LookupFailed", message, after }
}

fn paid_record(record: &WithdrawalRecord) -> PaidRecord {
    PaidRecord {
        venue_reference: record.id.clone(),
        received: record.received.clone(),
        network_fee: record.network_fee.clone(),
        tx_id: record.tx_id.clone(),
    }
}

fn not_found(live: &[&AttemptRow], void_in_ms: i64) -> String {
    let last = live.iter().max_by_key(|attempt| attempt.attempt);
    let accepted = live.iter().any(|attempt| attempt.state == AttemptState::Accepted);
    let outlook = if accepted {
        "the venue accepted it, so it is not given up".to_owned()
    } else if void_in_ms > 0 {
        format!("it may still show for {void_in_ms} ms")
    } else {
        "the next lookup decides".to_owned()
    };
    format!("attempt {} is not in the venue's history; {outlook}", last.map_or(0, |attempt| attempt.attempt))
}
