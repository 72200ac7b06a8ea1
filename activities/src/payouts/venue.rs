use std::{
    future::Future,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use backstop_domain::{
    Refusal, RefusalKind, Verdict,
    machine::{AttemptEvent, AttemptState},
    payout::{Confirmed, PaidRecord, PayoutOrder, PayoutReceipt, PayoutRef, Submitted},
};
use serde_json::json;
use temporalio_macros::activities;
use temporalio_sdk::activities::{ActivityContext, ActivityError};

use super::{Confirm, Resolve};
use crate::{
    books::{AttemptPermit, AttemptRow, Books, BooksError},
    failpoint,
    failure::Failure,
    venue::{LookupFailed, PayoutVenue, RecordState, SendOutcome, Withdrawal, WithdrawalRecord},
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
}

/// Calls of one venue, on that venue's own task queue.
pub struct VenueActivities {
    /// The books, where every attempt is recorded before it is sent.
    pub books: Books,
    /// The venue.
    pub venue: Arc<dyn PayoutVenue>,
    /// Its timings.
    pub patience: VenuePatience,
}

/// The longest pause before what was not sent is sent again, unless the venue names one.
const RESEND_MAX: Duration = Duration::from_secs(10);
const POLL_FIRST: Duration = Duration::from_millis(250);
/// How much less often a payout is looked up once an operator has been called.
const SLOWER: u32 = 6;
const HEARTBEAT_EVERY: Duration = Duration::from_millis(500);
/// The venue stamps its record with its own clock and whole seconds: look a little further on both sides.
const RECORD_MARGIN_MS: i64 = 60_000;

#[activities]
impl VenueActivities {
    /// Records an attempt and sends it. What was certainly not sent fails, and is tried again by the retry policy; what
    /// may have been sent is an answer.
    #[activity(name = "venue_submit")]
    pub async fn submit(self: Arc<Self>, ctx: ActivityContext, order: PayoutOrder) -> Result<Submitted, ActivityError> {
        beating(&ctx, RESEND_MAX, self.send_once(&order)).await
    }

    /// Looks a payout up in the venue's record until it says something final; "not yet" fails, and is tried again.
    #[activity(name = "venue_confirm")]
    pub async fn confirm(self: Arc<Self>, ctx: ActivityContext, input: Confirm) -> Result<Confirmed, ActivityError> {
        let longest = if input.slowly { self.patience.poll_max * SLOWER } else { self.patience.poll_max };
        beating(&ctx, longest, self.look_up(&input.payout)).await
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
    async fn send_once(&self, order: &PayoutOrder) -> Result<Submitted, Failure> {
        let payout = PayoutRef { payout_id: order.payout_id.clone(), holder: order.holder.clone() };
        let permit = if failpoint::broken("attempt_unrecorded") {
            self.unrecorded(order).await
        } else {
            self.books.payout_attempt(&payout, self.patience.receive_window, self.patience.visibility).await
        };
        let permit = match permit {
            Ok(permit) => permit,
            Err(BooksError::Refused(refusal)) if refusal.kind == RefusalKind::InDoubt => {
                return Ok(Submitted::Unknown { reason: refusal.message });
            }
            Err(BooksError::Refused(refusal)) if refusal.kind == RefusalKind::Rejected => {
                return Ok(Submitted::Rejected { reason: refusal.message });
            }
            // Not final: the send waits until the freeze is lifted, or the workflow is cancelled.
            Err(BooksError::Refused(refusal)) if refusal.kind == RefusalKind::Frozen => {
                return Err(Failure::Again { kind: "Frozen", message: refusal.message, after: None });
            }
            Err(error) => return Err(error.into()),
        };
        failpoint::pass("venue_submit.recorded").await;
        let amount = order.amount.to_string();
        let withdrawal = Withdrawal {
            client_id: &permit.client_id,
            asset: order.asset_id.as_str(),
            amount: &amount,
            network: order.destination.network.as_str(),
            address: order.destination.address.as_str(),
            tag: order.destination.tag.as_ref().map(backstop_domain::BusinessId::as_str),
        };
        let outcome = self.venue.submit(withdrawal, permit.signed_at_ms).await;
        let outcome = match outcome {
            SendOutcome::Unknown(reason) if failpoint::broken("rejections_widened") => SendOutcome::Rejected(reason),
            outcome => outcome,
        };
        failpoint::pass("venue_submit.sent").await;
        tracing::info!(payout = %order.payout_id, attempt = permit.attempt, ?outcome, "sent");
        self.record(&payout, permit.attempt, &outcome).await?;
        match outcome {
            SendOutcome::Done(venue_reference) => Ok(Submitted::Accepted { venue_reference }),
            SendOutcome::Rejected(reason) => Ok(Submitted::Rejected { reason }),
            SendOutcome::Unknown(reason) => Ok(Submitted::Unknown { reason }),
            SendOutcome::NotSent { reason, after } => {
                Err(Failure::Again { kind: "NotSent", message: format!("not sent: {reason}"), after })
            }
        }
    }

    /// What no send may ever have: leave that the books did not give. Only for the tests of the tests.
    async fn unrecorded(&self, order: &PayoutOrder) -> Result<AttemptPermit, BooksError> {
        let client_id = self.books.payout(&order.payout_id).await?.receipt.client_id;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let signed_at_ms = i64::try_from(now.as_millis()).unwrap_or_default();
        Ok(AttemptPermit { attempt: 1, signed_at_ms, client_id })
    }

    /// Should this fail, the attempt stays pending: the next execution finds it in doubt and looks it up.
    async fn record(&self, payout: &PayoutRef, attempt: i32, outcome: &SendOutcome) -> Result<(), BooksError> {
        let (event, detail, reference) = match outcome {
            SendOutcome::Done(id) => (AttemptEvent::Accept, "", Some(id.as_str())),
            SendOutcome::Rejected(reason) => (AttemptEvent::Reject, reason.as_str(), None),
            SendOutcome::NotSent { reason, .. } => (AttemptEvent::NotSend, reason.as_str(), None),
            SendOutcome::Unknown(reason) => (AttemptEvent::Lose, reason.as_str(), None),
        };
        self.books.payout_attempt_outcome(payout, attempt, event, detail, reference).await
    }

    async fn look_up(&self, payout: &PayoutRef) -> Result<Confirmed, Failure> {
        let receipt = self.books.payout(&payout.payout_id).await?.receipt;
        if receipt.state.is_final() {
            return Ok(Confirmed::Over(Box::new(receipt)));
        }
        let attempts = self.books.payout_attempts(&payout.payout_id).await?;
        let live: Vec<&AttemptRow> = attempts.iter().filter(|attempt| attempt.state.is_live()).collect();
        let Some(now_ms) = live.first().map(|attempt| attempt.now_ms) else { return Ok(Confirmed::Absent) };
        let void_after_ms = live.iter().map(|attempt| attempt.void_after_ms).max().unwrap_or(now_ms);
        let records = self.records(&receipt.client_id, &attempts).await?;
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
        // A failed record speaks for its own attempt, and for what would be visible by now.
        let accounted = |attempt: &&AttemptRow| {
            attempt.venue_reference.as_ref().is_none_or(|id| records.iter().any(|record| record.id == *id))
        };
        match records.first() {
            Some(failed) if now_ms > void_after_ms && live.iter().all(accounted) => {
                let accepted = live.iter().find_map(|attempt| attempt.venue_reference.clone());
                Ok(Confirmed::Failed {
                    venue_reference: accepted.unwrap_or_else(|| failed.id.clone()),
                    reason: format!("failed at the venue: {}", failed.info),
                })
            }
            Some(failed) => not_yet(format!("withdrawal {} failed; another attempt may still show", failed.id)),
            None if self.books.payout_attempts_vanish(payout, now_ms).await? == 0 => Ok(Confirmed::Absent),
            None => not_yet(not_found(&live, void_after_ms - now_ms)),
        }
    }

    /// The venue's complete record of a payout, from its first attempt on.
    async fn records(&self, client_id: &str, attempts: &[AttemptRow]) -> Result<Vec<WithdrawalRecord>, Failure> {
        let first = attempts.iter().map(|attempt| attempt.signed_at_ms).min();
        let last = attempts.iter().map(|attempt| attempt.void_after_ms).max();
        let now = attempts.iter().map(|attempt| attempt.now_ms).max();
        let (Some(first), Some(last), Some(now)) = (first, last, now) else { return Ok(Vec::new()) };
        let found = self.venue.withdrawals(client_id, first - RECORD_MARGIN_MS, last + RECORD_MARGIN_MS, now).await;
        found.map_err(|LookupFailed { reason, after }| Failure::Again {
            kind: "LookupFailed",
            message: format!("the venue's history could not be read: {reason}"),
            after,
        })
    }

    async fn end_by_operator(&self, input: &Resolve) -> Result<PayoutReceipt, Failure> {
        let (payout, resolution) = (&input.payout, &input.resolution);
        let receipt = self.books.payout(&payout.payout_id).await?.receipt;
        let attempts = self.books.payout_attempts(&payout.payout_id).await?;
        let looked_at_ms = attempts.iter().map(|attempt| attempt.now_ms).min().unwrap_or_default();
        if receipt.state.is_final() {
            return Ok(self.books.payout_resolve(payout, resolution, looked_at_ms).await?.receipt);
        }
        let records = self.records(&receipt.client_id, &attempts).await?;
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

/// Grows by half with every try, up to the longest.
fn pause(tries: u32, longest: Duration) -> Duration {
    let grown = (1..tries.min(32)).fold(POLL_FIRST, |pause, _| longest.min(pause * 3 / 2));
    grown.min(longest)
}

/// Runs `work` while telling the server that this worker lives, so that its death is noticed within the heartbeat timeout.
/// What is to be tried again and names no pause gets one that grows up to `longest`: nothing that is down is hammered.
async fn beating<T>(
    ctx: &ActivityContext,
    longest: Duration,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, ActivityError> {
    let mut work = std::pin::pin!(work);
    let mut beats = tokio::time::interval(HEARTBEAT_EVERY);
    loop {
        tokio::select! {
            result = &mut work => {
                let pause = pause(ctx.info().attempt, longest);
                return result.map_err(|failure| failure.not_before(pause).into());
            }
            _ = beats.tick() => { let _ = ctx.record_heartbeat(()).await; }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Failure, POLL_FIRST, pause};

    #[test]
    fn pauses_grow_with_every_try_up_to_the_longest() {
        let longest = Duration::from_secs(2);
        let pauses: Vec<Duration> = (1..=60).map(|tries| pause(tries, longest)).collect();
        assert_eq!(pauses[0], POLL_FIRST);
        assert!(pauses.windows(2).all(|pair| pair[0] < pair[1] || pair == [longest, longest]), "{pauses:?}");
        assert_eq!(pauses.last(), Some(&longest));
        assert_eq!(pause(1, Duration::from_millis(10)), Duration::from_millis(10));
    }

    #[test]
    fn a_failure_without_a_pause_of_its_own_gets_one_and_another_keeps_its_own() {
        let (given, own) = (Duration::from_secs(1), Duration::from_secs(600));
        for (after, expected) in [(None, given), (Some(own), own)] {
            let failure = Failure::Again { kind: "NotSent", message: String::new(), after };
            assert!(
                matches!(failure.not_before(given), Failure::Again { after: Some(pause), .. } if pause == expected)
            );
        }
    }
}
