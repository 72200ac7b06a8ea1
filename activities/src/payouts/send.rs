//! How a payout is sent: recorded first, once, and not before it is certain that no earlier send is out.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use backstop_domain::{
    Refusal, RefusalKind,
    machine::{AttemptEvent, PayoutState},
    payout::{Answer, PayoutOrder, Submitted},
};
use serde_json::json;

use super::{
    KnownAttempts, VenueActivities,
    venue::{RECORD_MARGIN, unreadable},
};
use crate::{
    books::{AttemptPermit, BooksError, PayoutStanding, Priority, Slot},
    failpoint,
    failure::Failure,
    pacing::NoTurn,
    venue::{Question, RecordState, SendOutcome, Withdrawal, WithdrawalRecord},
};

/// How far back a withdrawal is looked for that the books may have forgotten. A venue shows one id for 7 days at most
/// (Binance Wallet API, "Withdraw History").
const FORGOTTEN_MS: i64 = 7 * 24 * 3_600_000 - 600_000;
/// How old the look may be that shows the most of that time. It is the heavier one; the end of it is looked at afresh.
const LONG_LOOK_AGE: Duration = Duration::from_secs(600);

/// Whether it is certain that no execution of this activity has left a send behind that nobody knows of.
pub(super) struct Clear(AtomicBool);

impl Clear {
    pub(super) fn new(clear: bool) -> Self {
        Self(AtomicBool::new(clear))
    }

    pub(super) fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    fn set(&self, clear: bool) {
        self.0.store(clear, Ordering::Relaxed);
    }
}

impl VenueActivities {
    /// Records an attempt and sends it, once `clear` says that no earlier execution may have sent one, or it is found out.
    pub(super) async fn send(&self, order: &PayoutOrder, clear: &Clear) -> Result<Submitted, Failure> {
        if let Some(found) = self.sent_before_the_books_remember(order, clear).await? {
            return Ok(found);
        }
        let permit = match self.permit(order).await {
            Ok(permit) => permit,
            Err(NoTurn::Asking(BooksError::Refused(refusal))) => return answer_to(*refusal),
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
        clear.set(false);
        let outcome = match self.venue.submit(withdrawal, permit.signed_at_ms).await {
            SendOutcome::Unknown(reason) if failpoint::broken("rejections_widened") => SendOutcome::Rejected(reason),
            outcome => outcome,
        };
        failpoint::pass("venue_submit.sent").await;
        tracing::info!(payout = %order.payout_id, attempt = permit.attempt, ?outcome, "sent");
        clear.set(matches!(outcome, SendOutcome::NotSent { .. }));
        self.record(order, permit.attempt, &outcome).await?;
        let outcome = match outcome {
            SendOutcome::Done(venue_reference) => Answer::Accepted { venue_reference },
            SendOutcome::Rejected(reason) => Answer::Rejected { reason },
            SendOutcome::Unknown(reason) => Answer::Unknown { reason },
            SendOutcome::NotSent { reason, after } => {
                return Err(Failure::Again { kind: "NotSent", message: format!("not sent: {reason}"), after });
            }
        };
        Ok(Submitted { attempt: permit.attempt.unsigned_abs(), outcome })
    }

    /// Leave to send now: the attempt is recorded with the slot that it waits for. One that overslept its slot was not
    /// sent, and says so.
    async fn permit(&self, order: &PayoutOrder) -> Result<AttemptPermit, NoTurn<BooksError>> {
        let payout = order.as_ref();
        let ask = || async {
            if failpoint::broken("attempt_unrecorded") {
                return self.unrecorded(order).await;
            }
            self.books.payout_attempt(&payout, self.patience.receive_window, self.patience.visibility).await
        };
        let forfeit = |permit: AttemptPermit| async move {
            let (event, why) = (AttemptEvent::NotSend, "it overslept its slot");
            self.books.payout_attempt_outcome(&order.as_ref(), permit.attempt, event, why, None).await.map(drop)
        };
        self.lane.turn(Priority::Send, ask, forfeit).await
    }

    /// Books that were restored from a backup may have forgotten a send: an earlier execution's, or, where no attempt is on
    /// record, anybody's. Then the venue is asked before anything is sent, and what it knows is taken down again.
    async fn sent_before_the_books_remember(
        &self,
        order: &PayoutOrder,
        clear: &Clear,
    ) -> Result<Option<Submitted>, Failure> {
        let mut standing = self.standing_or_restored(order).await?;
        let attempts = self.books.payout_attempts(&order.payout_id).await?;
        let in_doubt = attempts.iter().any(|attempt| attempt.state.is_live());
        if in_doubt || (clear.get() && standing.receipt.state != PayoutState::Opened) {
            return Ok(None);
        }
        let mut max_age = self.patience.max_age();
        if !clear.get() {
            // The earlier execution may have sent a moment ago, or be about to: wait until that could no longer be
            // executed, and would be seen.
            tokio::time::sleep(self.patience.receive_window + self.patience.visibility).await;
            (standing, max_age) = (self.standing_or_restored(order).await?, Duration::ZERO);
        }
        let records = self.forgotten(&standing.receipt.client_id, standing.now_ms, max_age).await?;
        // What has failed is the answer only where nothing else is.
        let Some(record) = records.iter().min_by_key(|record| record.state == RecordState::Failed) else {
            clear.set(true);
            return Ok(None);
        };
        let attempt = u32::try_from(attempts.len()).unwrap_or(u32::MAX).saturating_add(1);
        self.restore(order, &KnownAttempts { count: attempt, accepted_as: Some(record.id.clone()) }).await?;
        Ok(Some(Submitted { attempt, outcome: Answer::Accepted { venue_reference: record.id.clone() } }))
    }

    /// Every record of a payout that the venue still shows, by two looks that many payouts share: a long one, which may be
    /// some minutes old, and one at the time since, no older than `max_age`.
    async fn forgotten(
        &self,
        client_id: &str,
        now_ms: i64,
        max_age: Duration,
    ) -> Result<Vec<WithdrawalRecord>, Failure> {
        let hidden = self.patience.receive_window + self.patience.visibility;
        let until_ms = now_ms + millis(RECORD_MARGIN);
        let from_ms = now_ms - FORGOTTEN_MS;
        let long = Question { client_id, from_ms, until_ms, now_ms, max_age: LONG_LOOK_AGE };
        let mut records = self.long_history.look_up(long).await.map_err(unreadable)?.records;
        let from_ms = now_ms - millis(LONG_LOOK_AGE + hidden + RECORD_MARGIN);
        let recent = Question { client_id, from_ms, until_ms, now_ms, max_age };
        let found = self.history.look_up(recent).await.map_err(unreadable)?.records;
        records.retain(|record| found.iter().all(|newer| newer.id != record.id));
        records.extend(found);
        Ok(records)
    }

    async fn standing_or_restored(&self, order: &PayoutOrder) -> Result<PayoutStanding, Failure> {
        match self.books.payout(&order.payout_id).await {
            Err(BooksError::Refused(refusal)) if refusal.kind == RefusalKind::NotFound => {
                self.restore(order, &KnownAttempts::default()).await?;
                Ok(self.books.payout(&order.payout_id).await?)
            }
            standing => Ok(standing?),
        }
    }

    /// Takes down again what the workflow knows and the books have lost. What keeps them from it, as that the money is not
    /// there because its deposit was lost, too, may pass: it is tried again, and a critical finding says so meanwhile.
    pub(super) async fn restore(&self, order: &PayoutOrder, known: &KnownAttempts) -> Result<(), Failure> {
        tracing::warn!(payout = %order.payout_id, ?known, "the books have lost what the workflow knows; restoring it");
        let (window, visibility) = (self.patience.receive_window, self.patience.visibility);
        let reference = known.accepted_as.as_deref();
        match self.books.payout_restore(order, known.count, reference, window, visibility).await {
            Ok(_) => Ok(()),
            Err(BooksError::Refused(refusal)) => {
                // It would have told so itself, had it not been refused.
                let evidence = json!({"lost": "the payout", "attempts": known.count, "why": refusal.message});
                self.books.find("books_lost_payout", order.payout_id.as_str(), "critical", &evidence).await?;
                match refusal.kind {
                    RefusalKind::Conflict | RefusalKind::Held => Err(Failure::Refused(*refusal)),
                    _ => Err(Failure::Again { kind: "BooksLost", message: refusal.message, after: None }),
                }
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Should this fail, the attempt stays pending: the next execution finds it in doubt and looks it up. Books that have
    /// lost the attempt meanwhile get it back: after a send nothing is refused.
    async fn record(&self, order: &PayoutOrder, attempt: i32, outcome: &SendOutcome) -> Result<(), Failure> {
        let (event, detail, reference) = match outcome {
            SendOutcome::Done(id) => (AttemptEvent::Accept, "", Some(id.as_str())),
            SendOutcome::Rejected(reason) => (AttemptEvent::Reject, reason.as_str(), None),
            SendOutcome::NotSent { reason, .. } => (AttemptEvent::NotSend, reason.as_str(), None),
            SendOutcome::Unknown(reason) => (AttemptEvent::Lose, reason.as_str(), None),
        };
        let payout = order.as_ref();
        match self.books.payout_attempt_outcome(&payout, attempt, event, detail, reference).await {
            Err(BooksError::Refused(refusal)) if refusal.kind == RefusalKind::NotFound => {
                let known = KnownAttempts { count: attempt.unsigned_abs(), accepted_as: reference.map(str::to_owned) };
                self.restore(order, &known).await?;
                self.books.payout_attempt_outcome(&payout, attempt, event, detail, reference).await?;
            }
            recorded => drop(recorded?),
        }
        Ok(())
    }

    /// What no send may ever have: leave that the books did not give. Only for the tests of the tests.
    async fn unrecorded(&self, order: &PayoutOrder) -> Result<Slot<AttemptPermit>, BooksError> {
        let client_id = self.books.payout(&order.payout_id).await?.receipt.client_id;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let signed_at_ms = i64::try_from(now.as_millis()).unwrap_or_default();
        let permit = AttemptPermit { attempt: 1, signed_at_ms, client_id };
        Ok(Slot::Granted { value: permit, wait: Duration::ZERO, interval: Duration::ZERO })
    }
}

/// What a refused attempt means: an earlier one speaks, or nothing may be sent now, or ever.
fn answer_to(refusal: Refusal) -> Result<Submitted, Failure> {
    let attempt = refusal.detail["attempt"].as_u64().and_then(|attempt| u32::try_from(attempt).ok()).unwrap_or(1);
    match refusal.kind {
        RefusalKind::InDoubt => Ok(Submitted { attempt, outcome: Answer::Unknown { reason: refusal.message } }),
        RefusalKind::Rejected => Ok(Submitted { attempt, outcome: Answer::Rejected { reason: refusal.message } }),
        // Not final: the send waits until the freeze or the halt is lifted, or the workflow is cancelled.
        RefusalKind::Frozen => Err(Failure::Again { kind: "Frozen", message: refusal.message, after: None }),
        RefusalKind::Halted => Err(Failure::Again { kind: "Halted", message: refusal.message, after: None }),
        // It was there a moment ago: the books have just been restored.
        RefusalKind::NotFound => {
            Err(Failure::Again { kind: "BooksLost", message: refusal.message, after: Some(Duration::from_secs(1)) })
        }
        _ => Err(Failure::Refused(refusal)),
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
