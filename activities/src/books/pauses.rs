use backstop_domain::{PauseRequest, PauseStatus, Refusal, RefusalKind};
use serde_json::{Value, json};

use super::{Books, BooksError};

fn read(status: Value) -> Result<PauseStatus, BooksError> {
    serde_json::from_value(status).map_err(|error| BooksError::Unreadable(format!("operation: {error}")))
}

impl Books {
    /// Takes a pause-and-withdraw up, for the first time or again after it was blocked.
    ///
    /// # Errors
    /// Refused when there is no such strategy of the user, another operation is withdrawing from it, or the id is taken
    /// or held.
    pub async fn pause_open(&self, request: &PauseRequest, holder: &str) -> Result<PauseStatus, BooksError> {
        let query = sqlx::query_scalar("SELECT pause_open($1, $2, $3, $4, $5, $6)");
        let query = query.bind(request.operation_id.as_str()).bind(holder).bind(request.content()).bind(&request.input);
        let query = query.bind(request.strategy_key.as_str()).bind(request.user_id.as_str());
        read(query.fetch_one(self.pool()).await?)
    }

    /// Records that the strategy is drained.
    ///
    /// # Errors
    /// `NotAllowed`, with what is still open, while it is not.
    pub async fn pause_drained(&self, operation_id: &str, holder: &str) -> Result<PauseStatus, BooksError> {
        let query = sqlx::query_scalar("SELECT pause_drained($1, $2)");
        read(query.bind(operation_id).bind(holder).fetch_one(self.pool()).await?)
    }

    /// Records an end: `block` (may go on later), `complete` or `fail`.
    ///
    /// # Errors
    /// Refused when another workflow holds it.
    pub async fn pause_end(
        &self,
        operation_id: &str,
        holder: &str,
        event: &str,
        reason: &str,
    ) -> Result<PauseStatus, BooksError> {
        let query = sqlx::query_scalar("SELECT pause_end($1, $2, $3, $4)");
        read(query.bind(operation_id).bind(holder).bind(event).bind(reason).fetch_one(self.pool()).await?)
    }

    /// Makes a strategy, or runs one that was stopped. Returns whether this call did.
    ///
    /// # Errors
    /// `Conflict` when it is another's or another market's; `NotAllowed` while somebody takes its money out.
    pub async fn strategy_start(
        &self,
        key: &str,
        owner: &str,
        market: (&str, &str, &str),
        parameters: &Value,
        by: &str,
    ) -> Result<bool, BooksError> {
        let query = sqlx::query_scalar("SELECT strategy_start($1, $2, $3, $4, $5, $6, $7)").bind(key).bind(owner);
        let query = query.bind(market.0).bind(market.1).bind(market.2);
        Ok(query.bind(parameters).bind(by).fetch_one(self.pool()).await?)
    }

    /// Stops a strategy: nothing more is sent in its name. Returns whether this call stopped it.
    ///
    /// # Errors
    /// `NotFound` when there is none.
    pub async fn strategy_stop(&self, key: &str, by: &str, reason: &str) -> Result<bool, BooksError> {
        let query = sqlx::query_scalar("SELECT strategy_stop($1, $2, $3)");
        Ok(query.bind(key).bind(by).bind(reason).fetch_one(self.pool()).await?)
    }

    /// Whether a strategy is stopped.
    ///
    /// # Errors
    /// `NotFound` when there is none; or when the books can't be reached.
    pub async fn strategy_is_stopped(&self, key: &str) -> Result<bool, BooksError> {
        let query = sqlx::query_scalar("SELECT status = 'stopped' FROM strategies WHERE strategy_key = $1");
        query.bind(key).fetch_optional(self.pool()).await?.ok_or_else(|| {
            BooksError::Refused(Box::new(Refusal {
                kind: RefusalKind::NotFound,
                message: format!("there is no strategy {key}"),
                detail: json!({"subject": key}),
            }))
        })
    }

    /// What keeps a strategy from being drained, in words; nothing when it is.
    ///
    /// # Errors
    /// When the books can't be reached.
    pub async fn strategy_open_ends(&self, key: &str) -> Result<Vec<String>, BooksError> {
        let query = sqlx::query_scalar("SELECT strategy_open_ends($1)");
        Ok(query.bind(key).fetch_one(self.pool()).await?)
    }
}
