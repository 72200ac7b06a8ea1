//! How a payout is sent: recorded first, once, and not before it is certain that no earlier send is out.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use backstop_domain::{
    Refusal, RefusalKind,
    machine::{AttemptEvent, PayoutState},
    payout::{Answer, PayoutOrder, Submitted},
};

use serde_json::json;

use super::{
    VenueActivities,
    venue::{RECORD_MARGIN_MS, unreadable},
};
use crate::{
    books::{AttemptPermit, BooksError, PayoutStanding, Priority, Slot},
    failpoint,
    failure::Failure,
    pacing::NoTurn,
    venue::{Question, SendOutcome, Withdrawal},
};

/// A payout that was opened this recently, by the workflow that sends it, can't have been sent before.
const FRESH_MS: i64 = 2_000;

impl VenueActivities {
    /// Records an attempt and sends it. `again` says that this is not the first execution: an earlier one may have got
    /// anywhere.
    pub(super) async fn send(&self, order: &PayoutOrder, again: bool) -> Result<Submitted, Failure> {
        if let Some(found) = self.sent_before_the_books_remember(order, again).await? {
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
        let outcome = match self.venue.submit(withdrawal, permit.signed_at_ms).await {
            SendOutcome::Unknown(reason) if failpoint::broken("rejections_widened") => SendOutcome::Rejected(reason),
            outcome => outcome,
        };
        failpoint::pass("venue_submit.sent").await;
        tracing::info!(payout = %order.payout_id, attempt = permit.attempt, ?outcome, "sent");
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
            let overslept = SendOutcome::NotSent { reason: "it overslept its slot".into(), after: None };
            self.record(order, permit.attempt, &overslept).await
        };
        self.lane.turn(Priority::Send, ask, forfeit).await
    }

    /// Books that were restored from a backup may have forgotten a send. Where that can be, because no attempt is on
    /// record and the payout has been open for a while, or this is not the first execution, the venue is asked before
    /// anything is sent. What it knows is taken down again, to be looked up like any unknown send.
    async fn sent_before_the_books_remember(
        &self,
        order: &PayoutOrder,
        again: bool,
    ) -> Result<Option<Submitted>, Failure> {
        let standing = self.standing_or_restored(order).await?;
        let fresh = standing.open_for_ms.is_some_and(|age| age < FRESH_MS);
        if standing.receipt.state != PayoutState::Opened || (fresh && !again) {
            return Ok(None);
        }
        if again {
            // The earlier execution may have sent a moment ago, or be about to: wait until that could no longer be
            // executed, and would be seen.
            tokio::time::sleep(self.patience.receive_window + self.patience.visibility).await;
        }
        let standing = self.standing_or_restored(order).await?;
        let now_ms = standing.now_ms;
        let question = Question {
            client_id: &standing.receipt.client_id,
            from_ms: now_ms - standing.open_for_ms.unwrap_or_default() - RECORD_MARGIN_MS,
            until_ms: now_ms + RECORD_MARGIN_MS,
            now_ms,
            // A look that begins now; all who wait for one share it.
            max_age: Duration::ZERO,
        };
        let found = self.history.look_up(question).await.map_err(unreadable)?;
        let Some(record) = found.records.into_iter().next() else { return Ok(None) };
        self.restore(order, 1).await?;
        let reason = format!("the venue has withdrawal {}, of which the books have lost the attempt", record.id);
        Ok(Some(Submitted { attempt: 1, outcome: Answer::Unknown { reason } }))
    }

    async fn standing_or_restored(&self, order: &PayoutOrder) -> Result<PayoutStanding, BooksError> {
        match self.books.payout(&order.payout_id).await {
            Err(BooksError::Refused(refusal)) if refusal.kind == RefusalKind::NotFound => {
                self.restore(order, 0).await?;
                self.books.payout(&order.payout_id).await
            }
            standing => standing,
        }
    }

    /// Takes down again what the workflow knows and the books have lost.
    pub(super) async fn restore(&self, order: &PayoutOrder, attempts: u32) -> Result<(), BooksError> {
        tracing::warn!(payout = %order.payout_id, attempts, "the books have lost what the workflow knows; restoring it");
        let patience = &self.patience;
        let restored = self.books.payout_restore(order, attempts, patience.receive_window, patience.visibility).await;
        if let Err(BooksError::Refused(refusal)) = &restored {
            // It would have told so itself, had it not been refused.
            let evidence = json!({"lost": "the payout", "attempts": attempts, "why": refusal.message});
            self.books.find("books_lost_payout", order.payout_id.as_str(), "critical", &evidence).await?;
        }
        restored.map(drop)
    }

    /// Should this fail, the attempt stays pending: the next execution finds it in doubt and looks it up. Books that have
    /// lost the attempt meanwhile get it back: after a send nothing is refused.
    async fn record(&self, order: &PayoutOrder, attempt: i32, outcome: &SendOutcome) -> Result<(), BooksError> {
        let (event, detail, reference) = match outcome {
            SendOutcome::Done(id) => (AttemptEvent::Accept, "", Some(id.as_str())),
            SendOutcome::Rejected(reason) => (AttemptEvent::Reject, reason.as_str(), None),
            SendOutcome::NotSent { reason, .. } => (AttemptEvent::NotSend, reason.as_str(), None),
            SendOutcome::Unknown(reason) => (AttemptEvent::Lose, reason.as_str(), None),
        };
        let payout = order.as_ref();
        match self.books.payout_attempt_outcome(&payout, attempt, event, detail, reference).await {
            Err(BooksError::Refused(refusal)) if refusal.kind == RefusalKind::NotFound => {
                self.restore(order, attempt.unsigned_abs()).await?;
                self.books.payout_attempt_outcome(&payout, attempt, event, detail, reference).await
            }
            recorded => recorded,
        }
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
