use std::time::Duration;

use backstop_domain::{
    PayoutId, Refusal, RefusalKind, Resolution, Verdict,
    machine::{AttemptEvent, AttemptState, PayoutState},
    payout::{PaidRecord, PayoutOrder, PayoutReceipt, PayoutRef},
};
use serde_json::json;
use sqlx::FromRow;
use uuid::Uuid;

use super::{
    Books, BooksError,
    pacing::{PermitRow, Slot},
};

/// A payout after a transition, and whether this very call made it.
#[derive(Debug)]
pub struct PayoutStanding {
    /// False when the transition had been made before.
    pub applied: bool,
    /// The workflow that carries the payout.
    pub holder: String,
    /// The payout as it is now.
    pub receipt: PayoutReceipt,
    /// How long its money has been away from the user, ms, if it ever was; only where the payout was read.
    pub open_for_ms: Option<i64>,
    /// The books' clock when it was read, ms since 1970; 0 after a transition.
    pub now_ms: i64,
}

/// Leave to send once. The venue refuses the request after `signed_at_ms` plus the receive window.
#[derive(Debug)]
pub struct AttemptPermit {
    /// Which attempt this is, from 1.
    pub attempt: i32,
    /// The timestamp to sign, in ms since 1970 by the books' clock.
    pub signed_at_ms: i64,
    /// The client id to send (`withdrawOrderId`).
    pub client_id: String,
}

/// One recorded attempt.
#[derive(Debug)]
pub struct AttemptRow {
    /// Which attempt, from 1.
    pub attempt: i32,
    /// How it stands.
    pub state: AttemptState,
    /// The venue's id of the withdrawal, if the attempt was accepted.
    pub venue_reference: Option<String>,
    /// When it was signed, ms since 1970.
    pub signed_at_ms: i64,
    /// From when on an empty lookup proves that it had no effect, ms since 1970.
    pub void_after_ms: i64,
    /// The books' clock when this was read, ms since 1970.
    pub now_ms: i64,
}

#[derive(FromRow)]
pub(super) struct ReceiptRow {
    applied: bool,
    payout_id: String,
    holder: String,
    owner: String,
    asset: String,
    amount: String,
    venue: Option<String>,
    client_id: String,
    state: String,
    reason: Option<String>,
    venue_reference: Option<String>,
    network_fee: Option<String>,
    tx_id: Option<String>,
    decided_by: Option<String>,
}

impl TryFrom<ReceiptRow> for PayoutStanding {
    type Error = BooksError;

    fn try_from(row: ReceiptRow) -> Result<Self, BooksError> {
        let state = PayoutState::from_name(&row.state)
            .ok_or_else(|| BooksError::Unreadable(format!("payout state {:?}", row.state)))?;
        Ok(Self {
            applied: row.applied,
            holder: row.holder,
            open_for_ms: None,
            now_ms: 0,
            receipt: PayoutReceipt {
                payout_id: PayoutId::from_books(row.payout_id),
                state,
                user_id: row.owner,
                asset_id: row.asset,
                amount: row.amount,
                network_fee: row.network_fee,
                venue: row.venue.unwrap_or_default(),
                client_id: row.client_id,
                venue_reference: row.venue_reference,
                tx_id: row.tx_id,
                reason: row.reason,
                decided_by: row.decided_by,
            },
        })
    }
}

/// The id every request about a payout carries: derived from the payout's own, so that it is the same for ever, and as
/// short as a venue wants it.
fn client_id_of(payout_id: &PayoutId) -> String {
    Uuid::new_v5(&Uuid::NAMESPACE_URL, format!("backstop:payout:{payout_id}").as_bytes()).simple().to_string()
}

pub(super) type ReceiptQuery<'q> = sqlx::query::QueryAs<'q, sqlx::Postgres, ReceiptRow, sqlx::postgres::PgArguments>;

impl Books {
    pub(super) async fn standing(&self, query: ReceiptQuery<'_>) -> Result<PayoutStanding, BooksError> {
        query.fetch_one(self.pool()).await?.try_into()
    }

    /// Opens a payout: user available → in transit.
    ///
    /// # Errors
    /// Refused when the input can't work, funds are insufficient or frozen, or the id is taken, held or ended.
    pub async fn payout_open(&self, order: &PayoutOrder) -> Result<PayoutStanding, BooksError> {
        let sql = "SELECT * FROM payout_open($1, $2, $3, $4, $5, $6, $7, $8, $9, $10::numeric, $11, $12, $13)";
        self.standing(bind_order(sqlx::query_as(sql), order)).await
    }

    /// Undoes an opening that may or may not have happened; leaves a tombstone where it did not.
    ///
    /// # Errors
    /// `TooLate` past the pivot; refused when the id has other content or another holder.
    pub async fn payout_abandon(&self, order: &PayoutOrder, reason: &str) -> Result<PayoutStanding, BooksError> {
        let sql = "SELECT * FROM payout_abandon($1, $2, $3, $4, $5, $6, $7, $8, $9, $10::numeric, $11, $12, $13, $14)";
        self.standing(bind_order(sqlx::query_as(sql), order).bind(reason)).await
    }

    /// Records an attempt and gives leave to send it: the pivot, the first time.
    ///
    /// # Errors
    /// Refused while an earlier attempt is live (`InDoubt`), the account is frozen, or the payout is over.
    pub async fn payout_attempt(
        &self,
        payout: &PayoutRef,
        receive_window: Duration,
        visibility: Duration,
    ) -> Result<Slot<AttemptPermit>, BooksError> {
        let query = sqlx::query_as("SELECT * FROM payout_attempt($1, $2, $3, $4, $5)");
        let query = query.bind(payout.payout_id.as_str()).bind(&payout.holder);
        let query = query.bind(millis(receive_window)).bind(millis(visibility)).bind(self.lane());
        let row: PermitRow = query.fetch_one(self.pool()).await?;
        row.read(|row| {
            Some(AttemptPermit { attempt: row.attempt?, signed_at_ms: row.signed_at_ms?, client_id: row.client_id? })
        })
    }

    /// Records how an attempt came back. Facts are never refused; a weaker one never replaces a stronger.
    ///
    /// # Errors
    /// When the books can't be reached, or know no such attempt.
    pub async fn payout_attempt_outcome(
        &self,
        payout: &PayoutRef,
        attempt: i32,
        event: AttemptEvent,
        detail: &str,
        venue_reference: Option<&str>,
    ) -> Result<(), BooksError> {
        let query = sqlx::query("SELECT payout_attempt_outcome($1, $2, $3, $4, $5)");
        let query = query.bind(payout.payout_id.as_str()).bind(attempt).bind(event.name());
        query.bind(detail).bind(venue_reference).execute(self.pool()).await?;
        Ok(())
    }

    /// Records that a complete lookup, begun at `looked_at_ms` by the books' clock, found nothing. Returns how many
    /// attempts are still live.
    ///
    /// # Errors
    /// When the books can't be reached.
    pub async fn payout_attempts_vanish(&self, payout: &PayoutRef, looked_at_ms: i64) -> Result<i32, BooksError> {
        let query = sqlx::query_scalar("SELECT payout_attempts_vanish($1, $2)");
        Ok(query.bind(payout.payout_id.as_str()).bind(looked_at_ms).fetch_one(self.pool()).await?)
    }

    /// Settles by the venue's record: in transit → world and fees.
    ///
    /// # Errors
    /// Refused when settled by another record, or in a state that does not allow it.
    pub async fn payout_settle(&self, payout: &PayoutRef, paid: &PaidRecord) -> Result<PayoutStanding, BooksError> {
        let sql = "SELECT * FROM payout_settle($1, $2, $3::numeric, $4::numeric, $5)";
        let query = sqlx::query_as(sql).bind(payout.payout_id.as_str()).bind(&paid.venue_reference);
        self.standing(query.bind(&paid.received).bind(&paid.network_fee).bind(&paid.tx_id)).await
    }

    /// Returns the money: in transit → user available. `failed_reference` is the venue's record of the failure, if that
    /// is the proof.
    ///
    /// # Errors
    /// `InDoubt` while an attempt is live and no failed record is named.
    pub async fn payout_return(
        &self,
        payout: &PayoutRef,
        reason: &str,
        failed_reference: Option<&str>,
    ) -> Result<PayoutStanding, BooksError> {
        let query = sqlx::query_as("SELECT * FROM payout_return($1, $2, $3)").bind(payout.payout_id.as_str());
        self.standing(query.bind(reason).bind(failed_reference)).await
    }

    /// Calls an operator: nothing moves, a finding is opened.
    ///
    /// # Errors
    /// When the state does not allow it.
    pub async fn payout_escalate(&self, payout: &PayoutRef, evidence: &str) -> Result<PayoutStanding, BooksError> {
        let query = sqlx::query_as("SELECT * FROM payout_escalate($1, $2)");
        self.standing(query.bind(payout.payout_id.as_str()).bind(evidence)).await
    }

    /// Ends a payout on an operator's word, after a complete lookup that began at `looked_at_ms` by the books' clock.
    ///
    /// # Errors
    /// `TooEarly` while an attempt may still take effect; `NotAllowed` when no operator is waited for.
    pub async fn payout_resolve(
        &self,
        payout: &PayoutRef,
        resolution: &Resolution,
        looked_at_ms: i64,
    ) -> Result<PayoutStanding, BooksError> {
        let fee = resolution.network_fee.map_or_else(|| "0".to_owned(), |fee| fee.to_string());
        let query = sqlx::query_as("SELECT * FROM payout_resolve($1, $2, $3, $4, $5, $6::numeric, $7)");
        let query = query.bind(payout.payout_id.as_str()).bind(resolution.verdict == Verdict::Executed);
        let query = query.bind(resolution.operator.as_str()).bind(resolution.evidence.as_str());
        let reference = resolution.venue_reference.as_ref().map(|reference| reference.as_str().to_owned());
        self.standing(query.bind(reference).bind(fee).bind(looked_at_ms)).await
    }

    /// Reads a payout as it is.
    ///
    /// # Errors
    /// `NotFound` when there is none; or when the books can't be reached.
    pub async fn payout(&self, payout_id: &PayoutId) -> Result<PayoutStanding, BooksError> {
        #[derive(FromRow)]
        struct Row {
            #[sqlx(flatten)]
            receipt: ReceiptRow,
            open_for_ms: Option<i64>,
            now_ms: i64,
        }
        let query = sqlx::query_as(
            "SELECT (receipt(p, false)).*, floor(extract(epoch FROM clock_timestamp() - opened_at) * 1000)::bigint AS open_for_ms,
                    floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint AS now_ms
               FROM payouts AS p WHERE payout_id = $1",
        );
        let row: Option<Row> = query.bind(payout_id.as_str()).fetch_optional(self.pool()).await?;
        let Some(Row { receipt, open_for_ms, now_ms }) = row else {
            return Err(BooksError::Refused(Box::new(Refusal {
                kind: RefusalKind::NotFound,
                message: format!("there is no payout {payout_id}"),
                detail: json!({"subject": payout_id}),
            })));
        };
        Ok(PayoutStanding { open_for_ms, now_ms, ..receipt.try_into()? })
    }

    /// Reads every attempt of a payout, oldest first.
    ///
    /// # Errors
    /// When the books can't be reached.
    pub async fn payout_attempts(&self, payout_id: &PayoutId) -> Result<Vec<AttemptRow>, BooksError> {
        type Row = (i32, String, Option<String>, i64, i64, i64);
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT attempt, outcome, venue_reference, (extract(epoch FROM signed_at) * 1000)::bigint,
                    (extract(epoch FROM void_after) * 1000)::bigint,
                    floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint
               FROM payout_attempts WHERE payout_id = $1 ORDER BY attempt",
        )
        .bind(payout_id.as_str())
        .fetch_all(self.pool())
        .await?;
        let read = |(attempt, outcome, venue_reference, signed_at_ms, void_after_ms, now_ms): Row| {
            let state = AttemptState::from_name(&outcome)
                .ok_or_else(|| BooksError::Unreadable(format!("attempt outcome {outcome:?}")))?;
            Ok(AttemptRow { attempt, state, venue_reference, signed_at_ms, void_after_ms, now_ms })
        };
        rows.into_iter().map(read).collect()
    }
}

pub(super) fn bind_order<'q>(query: ReceiptQuery<'q>, order: &'q PayoutOrder) -> ReceiptQuery<'q> {
    let destination = &order.destination;
    query
        .bind(order.payout_id.as_str())
        .bind(order.kind.name())
        .bind(&order.holder)
        .bind(order.content())
        .bind(&order.input)
        .bind(client_id_of(&order.payout_id))
        .bind(order.user_id.as_str())
        .bind(order.requested_by.as_ref().map(backstop_domain::BusinessId::as_str))
        .bind(order.asset_id.as_str())
        .bind(order.amount.to_string())
        .bind(destination.network.as_str())
        .bind(destination.address.as_str())
        .bind(destination.tag.as_ref().map(backstop_domain::BusinessId::as_str))
}

pub(super) fn millis(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis()).unwrap_or(i32::MAX)
}
