use backstop_domain::{Claim, IntentReceipt, IntentRequest, machine::IntentState};
use sqlx::{FromRow, Postgres, postgres::PgArguments, query::QueryAs};

use super::{Books, BooksError, OrderRow};

/// The channel that is told when an intent has ended, with the venue's name.
pub const GATES_CHANNEL: &str = "backstop_gates";

#[derive(FromRow)]
struct ReceiptRow {
    intent_id: String,
    state: String,
    ticket: Option<i64>,
    venue: Option<String>,
    order_id: String,
    order_state: Option<String>,
    venue_order_id: Option<String>,
    reason: Option<String>,
}

#[derive(FromRow)]
struct ClaimRow {
    claimed: bool,
    state: String,
    why: Option<String>,
}

/// An order on its way to the venue.
#[derive(Debug, FromRow)]
pub struct OrderStanding {
    /// How it stands.
    #[sqlx(flatten)]
    pub order: OrderRow,
    /// When its attempt is void should the venue not know it by then, ms since 1970.
    pub void_after_ms: Option<i64>,
    /// Why it is void, or ended.
    pub detail: Option<String>,
}

fn read_state(state: &str) -> Result<IntentState, BooksError> {
    IntentState::from_name(state).ok_or_else(|| BooksError::Unreadable(format!("state {state:?} of an intent")))
}

type Asking<'q> = QueryAs<'q, Postgres, ReceiptRow, PgArguments>;

impl Books {
    /// Whether an intent could be opened by this workflow, or how it stands where it was. Changes nothing.
    ///
    /// # Errors
    /// Refused when it is not what its strategy is, or the id is taken or held.
    pub async fn intent_check(&self, intent: &IntentRequest, holder: &str) -> Result<IntentReceipt, BooksError> {
        let query = sqlx::query_as("SELECT * FROM intent_check($1, $2, $3, $4)").bind(intent.intent_id.as_str());
        self.receipt(query.bind(holder).bind(intent.to_json()).bind(intent.order_id())).await
    }

    /// Takes a ticket. That of a strategy which is stopped is cancelled at once.
    ///
    /// # Errors
    /// Refused when it is not what its strategy is, or the id is taken, held or abandoned.
    pub async fn intent_open(&self, intent: &IntentRequest, holder: &str) -> Result<IntentReceipt, BooksError> {
        let query = sqlx::query_as("SELECT * FROM intent_open($1, $2, $3, $4, $5)").bind(intent.intent_id.as_str());
        let query = query.bind(holder).bind(intent.to_json()).bind(intent.to_json());
        self.receipt(query.bind(intent.order_id())).await
    }

    /// Tries to pass the gates. Cancels an intent to trade whose strategy has been stopped.
    ///
    /// # Errors
    /// Refused when there is no such intent, or another workflow holds it.
    pub async fn intent_claim(&self, intent_id: &str, holder: &str) -> Result<Claim, BooksError> {
        let query = sqlx::query_as("SELECT * FROM intent_claim($1, $2)").bind(intent_id).bind(holder);
        let ClaimRow { claimed, state, why } = query.fetch_one(self.pool()).await?;
        Ok(Claim { claimed, state: read_state(&state)?, why })
    }

    /// Sets aside what a claimed intent's order may take.
    ///
    /// # Errors
    /// Refused when it is not claimed, the strategy does not run, or funds are insufficient or frozen.
    pub async fn intent_reserve(&self, intent_id: &str, holder: &str) -> Result<IntentReceipt, BooksError> {
        let query = sqlx::query_as("SELECT * FROM intent_reserve($1, $2)").bind(intent_id).bind(holder);
        self.receipt(query).await
    }

    /// Records that the venue has the order, where it was to be placed, and that the intent is processed: one commit.
    ///
    /// # Errors
    /// Refused when there is no such intent, or another workflow holds it.
    pub async fn intent_finish(
        &self,
        intent_id: &str,
        holder: &str,
        venue_order_id: Option<&str>,
        reason: Option<&str>,
    ) -> Result<IntentReceipt, BooksError> {
        let query = sqlx::query_as("SELECT * FROM intent_finish($1, $2, $3, $4)").bind(intent_id).bind(holder);
        self.receipt(query.bind(venue_order_id).bind(reason)).await
    }

    /// Records that the order is void, refused by the venue or absent by a lookup that began at `looked_at_ms`, and that
    /// the intent has failed: one commit. Changes nothing while the order is not void.
    ///
    /// # Errors
    /// Refused when there is no such intent, or another workflow holds it.
    pub async fn intent_void(
        &self,
        intent_id: &str,
        holder: &str,
        looked_at_ms: i64,
        rejected: bool,
        reason: &str,
    ) -> Result<IntentReceipt, BooksError> {
        let query = sqlx::query_as("SELECT * FROM intent_void($1, $2, $3, $4, $5)").bind(intent_id).bind(holder);
        self.receipt(query.bind(looked_at_ms).bind(rejected).bind(reason)).await
    }

    /// Ends an intent that can't be done, and of which nothing was sent.
    ///
    /// # Errors
    /// `TooLate` once its order may have been sent.
    pub async fn intent_fail(&self, intent_id: &str, holder: &str, reason: &str) -> Result<IntentReceipt, BooksError> {
        let query = sqlx::query_as("SELECT * FROM intent_fail($1, $2, $3)").bind(intent_id).bind(holder);
        self.receipt(query.bind(reason)).await
    }

    /// Ends an intent that nobody wants any more, and of which nothing was sent.
    ///
    /// # Errors
    /// `TooLate` once its order may have been sent.
    pub async fn intent_cancel(
        &self,
        intent_id: &str,
        holder: &str,
        reason: &str,
    ) -> Result<IntentReceipt, BooksError> {
        let query = sqlx::query_as("SELECT * FROM intent_cancel($1, $2, $3)").bind(intent_id).bind(holder);
        self.receipt(query.bind(reason)).await
    }

    /// Undoes an opening that may or may not have happened: the intent ends as cancelled, or else as failed. Leaves a
    /// tombstone where it did not.
    ///
    /// # Errors
    /// `TooLate` once its order may have been sent; refused when the id has other content or another holder.
    pub async fn intent_abandon(
        &self,
        intent: &IntentRequest,
        holder: &str,
        cancelled: bool,
        reason: &str,
    ) -> Result<IntentReceipt, BooksError> {
        let query = sqlx::query_as("SELECT * FROM intent_abandon($1, $2, $3, $4, $5, $6, $7)");
        let query = query.bind(intent.intent_id.as_str()).bind(holder).bind(intent.to_json()).bind(intent.to_json());
        let event = if cancelled { "cancel" } else { "fail" };
        self.receipt(query.bind(intent.order_id()).bind(event).bind(reason)).await
    }

    /// Lets so many intents at once through a venue's gate, or everything's. Returns how many it was before.
    ///
    /// # Errors
    /// Refused when there is no such venue, or the number is not above 0.
    pub async fn gate_set(&self, venue: Option<&str>, max_in_flight: i32) -> Result<i32, BooksError> {
        let query = sqlx::query_scalar("SELECT gate_set($1, $2)").bind(venue).bind(max_in_flight);
        Ok(query.fetch_one(self.pool()).await?)
    }

    /// Tells every process that an intent has ended. In a transaction of its own: a commit that notifies takes turns with
    /// every other that does.
    ///
    /// # Errors
    /// When the books can't be reached.
    pub async fn wake_gates(&self, venue: &str) -> Result<(), BooksError> {
        let query = sqlx::query("SELECT pg_notify($1, $2)").bind(GATES_CHANNEL).bind(venue);
        query.execute(self.pool()).await?;
        Ok(())
    }

    /// An order, whatever its state; `None` when the books know of none.
    ///
    /// # Errors
    /// When the books can't be reached.
    pub async fn order(&self, order_id: &str) -> Result<Option<OrderStanding>, BooksError> {
        let query = sqlx::query_as(
            "SELECT order_id, base, quote, state, venue_order_id,
                    trim_scale(coalesce((SELECT sum(f.base) FROM fills AS f WHERE f.order_id = o.order_id), 0))::text AS booked,
                    floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint AS now_ms,
                    ceil(extract(epoch FROM void_after) * 1000)::bigint AS void_after_ms, detail,
                    floor(extract(epoch FROM coalesce(signed_at, changed_at)) * 1000)::bigint AS since_ms
               FROM orders AS o WHERE order_id = $1 AND base IS NOT NULL",
        );
        Ok(query.bind(order_id).fetch_optional(self.pool()).await?)
    }

    /// How many decimal places an asset has in the books.
    ///
    /// # Errors
    /// When the books can't be reached.
    pub async fn asset_decimals(&self, asset: &str) -> Result<Option<i16>, BooksError> {
        let query = sqlx::query_scalar("SELECT decimals FROM assets WHERE asset = $1").bind(asset);
        Ok(query.fetch_optional(self.pool()).await?)
    }

    async fn receipt(&self, query: Asking<'_>) -> Result<IntentReceipt, BooksError> {
        let row = query.fetch_one(self.pool()).await?;
        Ok(IntentReceipt {
            state: read_state(&row.state)?,
            intent_id: row.intent_id,
            ticket: row.ticket,
            venue: row.venue.unwrap_or_default(),
            order_id: row.order_id,
            order_state: row.order_state,
            venue_order_id: row.venue_order_id,
            reason: row.reason,
        })
    }
}
