use std::time::Duration;

use backstop_domain::payout::PayoutOrder;
use serde_json::Value;
use sqlx::FromRow;

use super::{
    Books, BooksError, PayoutStanding,
    payouts::{bind_order, millis},
};

/// An operation that is not over, and the workflow that has to be there for it.
#[derive(Clone, Debug, FromRow)]
pub struct Unfinished {
    /// The workflow's id.
    pub holder: String,
    /// The workflow's type.
    pub workflow: String,
    /// What it was started with.
    pub input: Value,
}

impl Books {
    /// A page of what is not over and has not moved for `quiet`, in the order of the holders' ids, after `after`.
    ///
    /// # Errors
    /// When the books can't be reached.
    pub async fn unfinished(&self, quiet: Duration, after: &str) -> Result<Vec<Unfinished>, BooksError> {
        let query = sqlx::query_as(
            "SELECT holder, workflow, input FROM unfinished
              WHERE changed_at < clock_timestamp() - $1 * interval '1 ms' AND holder > $2
              ORDER BY holder LIMIT 500",
        );
        Ok(query.bind(millis(quiet)).bind(after).fetch_all(self.pool()).await?)
    }

    /// Takes down that an operation is about to be started again, because this run of its workflow is gone, or all that
    /// Temporal knew of it. Again, it changes nothing.
    ///
    /// # Errors
    /// When the books can't be reached.
    pub async fn adoption_note(&self, operation: &Unfinished, gone_run: Option<&str>) -> Result<(), BooksError> {
        let query = sqlx::query("SELECT adoption_note($1, $2, $3)").bind(&operation.holder).bind(&operation.workflow);
        query.bind(gone_run).execute(self.pool()).await?;
        Ok(())
    }

    /// Takes down again what a workflow knows of its payout and restored books have lost: so many attempts, of which the
    /// venue accepted the last as `venue_reference`, where that is known.
    ///
    /// # Errors
    /// Refused when the books have another payout of this id; fails when the money is gone.
    pub async fn payout_restore(
        &self,
        order: &PayoutOrder,
        attempts: u32,
        venue_reference: Option<&str>,
        receive_window: Duration,
        visibility: Duration,
    ) -> Result<PayoutStanding, BooksError> {
        let sql = "SELECT * FROM payout_restore($1, $2, $3, $4, $5, $6, $7, $8, $9, $10::numeric, $11, $12, $13, $14, $15, $16, $17)";
        let query = bind_order(sqlx::query_as(sql), order).bind(i32::try_from(attempts).unwrap_or(i32::MAX));
        self.standing(query.bind(venue_reference).bind(millis(receive_window)).bind(millis(visibility))).await
    }

    /// How far a watcher has read, ms since 1970, and the books' clock now.
    ///
    /// # Errors
    /// When the books can't be reached.
    pub async fn watermark(&self, name: &str) -> Result<(Option<i64>, i64), BooksError> {
        let query = sqlx::query_as(
            "SELECT (SELECT at_ms FROM watermarks WHERE name = $1),
                    floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint",
        );
        Ok(query.bind(name).fetch_one(self.pool()).await?)
    }

    /// Records how far a watcher has read. Never goes back.
    ///
    /// # Errors
    /// When the books can't be reached.
    pub async fn watermark_set(&self, name: &str, at_ms: i64) -> Result<(), BooksError> {
        sqlx::query("SELECT watermark_set($1, $2)").bind(name).bind(at_ms).execute(self.pool()).await?;
        Ok(())
    }
}
