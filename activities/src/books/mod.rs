//! The books: typed calls of the SQL transition functions, one round trip and one commit each.

mod error;
mod fundings;
mod intents;
mod orders;
mod outbox;
mod pacing;
mod pauses;
mod payouts;
mod receipts;
mod reconcile;
mod recovery;
mod rewards;
mod strategies;
mod venue_checks;
mod withdrawals;

use std::{sync::Arc, time::Duration};

use backstop_domain::Amount;
pub use error::BooksError;
pub use intents::{GATES_CHANNEL, OrderStanding};
pub use orders::{OrderRow, PlacedOrder};
pub use outbox::{Behind, Endpoint, Event, Fault, Lag, Leased, NotTaken, Patience};
pub use pacing::{Halt, HaltScope, Pace, Priority, Slot};
pub use payouts::{AttemptPermit, AttemptRow, PayoutStanding};
pub use receipts::once;
pub use reconcile::{AccountPage, EntryPage, HeadPage, Look, LostSeal, News};
pub use recovery::Unfinished;
pub use rewards::RewardStanding;
use sqlx::{
    PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};
pub use strategies::StrategyRow;
use uuid::Uuid;
pub use venue_checks::{ComparedOrder, CustodyOrder, CustodyRow, Explained, OwedRow};

/// The migrations that make the books.
pub static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("../migrations");

/// How long one statement may take. Every transition is one, so none takes longer to commit.
pub(crate) const STATEMENT_MAX: Duration = Duration::from_secs(10);

/// A handle on the books. Cheap to clone; all clones share one pool.
#[derive(Clone, Debug)]
pub struct Books {
    pool: PgPool,
    /// Names this process where processes take turns.
    lane: Arc<str>,
}

impl Books {
    /// Connects with a pool of at most `connections_max`.
    ///
    /// # Errors
    /// When the first connection can't be made.
    pub async fn connect(options: PgConnectOptions, connections_max: u32) -> Result<Self, BooksError> {
        let statement_max = format!("{}", STATEMENT_MAX.as_millis());
        let options = options.options([("search_path", "backstop"), ("statement_timeout", statement_max.as_str())]);
        let pool = PgPoolOptions::new()
            .max_connections(connections_max)
            .acquire_timeout(Duration::from_secs(5))
            .connect_with(options)
            .await?;
        Ok(Self { pool, lane: Uuid::now_v7().simple().to_string().into() })
    }

    pub(crate) fn lane(&self) -> &str {
        &self.lane
    }

    /// The pool, for checkers that bring queries of their own.
    pub fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// Books a deposit from the venue's record: to the owner, or to suspense when the owner is unknown. Returns whether
    /// this call booked it.
    ///
    /// # Errors
    /// `Conflict` when the deposit id was booked with other content.
    pub async fn deposit_credit(
        &self,
        venue: &str,
        deposit_id: &str,
        owner: Option<&str>,
        asset: &str,
        amount: Amount,
    ) -> Result<bool, BooksError> {
        let query = sqlx::query_scalar("SELECT deposit_credit($1, $2, $3, $4, $5::numeric)");
        let query = query.bind(venue).bind(deposit_id).bind(owner).bind(asset).bind(amount.to_string());
        Ok(query.fetch_one(&self.pool).await?)
    }

    /// Sets `amount` of the owner's balance aside for `holder`. Returns whether this call did.
    ///
    /// # Errors
    /// Refused when the funds are insufficient or frozen, or the id is taken, held or ended.
    pub async fn reservation_open(
        &self,
        id: &str,
        holder: &str,
        owner: &str,
        asset: &str,
        amount: Amount,
    ) -> Result<bool, BooksError> {
        self.reservation(
            "SELECT (reservation_open($1, $2, $3, $4, $5::numeric)).applied",
            id,
            holder,
            owner,
            asset,
            amount,
        )
        .await
    }

    /// Gives what remains of a reservation back; leaves a tombstone where none was opened. Returns whether this call did.
    ///
    /// # Errors
    /// Refused when the id has other content or another holder.
    pub async fn reservation_release(
        &self,
        id: &str,
        holder: &str,
        owner: &str,
        asset: &str,
        amount: Amount,
    ) -> Result<bool, BooksError> {
        self.reservation(
            "SELECT (reservation_release($1, $2, $3, $4, $5::numeric)).applied",
            id,
            holder,
            owner,
            asset,
            amount,
        )
        .await
    }

    async fn reservation(
        &self,
        sql: &'static str,
        id: &str,
        holder: &str,
        owner: &str,
        asset: &str,
        amount: Amount,
    ) -> Result<bool, BooksError> {
        let query = sqlx::query_scalar(sql).bind(id).bind(holder).bind(owner).bind(asset).bind(amount.to_string());
        Ok(query.fetch_one(&self.pool).await?)
    }

    /// Opens a finding, or refreshes the one that is open.
    ///
    /// # Errors
    /// When the books can't be reached.
    pub async fn find(
        &self,
        kind: &str,
        subject: &str,
        severity: &str,
        evidence: &serde_json::Value,
    ) -> Result<(), BooksError> {
        let query = sqlx::query("SELECT find($1, $2, $3, $4)");
        query.bind(kind).bind(subject).bind(severity).bind(evidence).execute(&self.pool).await?;
        Ok(())
    }
}
