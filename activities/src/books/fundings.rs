use backstop_domain::{FundRequest, FundingStatus, Refusal, RefusalKind};
use serde_json::{Value, json};

use super::{Books, BooksError};

fn read(status: Value) -> Result<FundingStatus, BooksError> {
    serde_json::from_value(status).map_err(|error| BooksError::Unreadable(format!("order: {error}")))
}

impl Books {
    /// Begins to wait for an order's payments.
    ///
    /// # Errors
    /// Refused when the input can't work, or the id or the tag is taken or held.
    pub async fn funding_open(&self, request: &FundRequest, holder: &str) -> Result<FundingStatus, BooksError> {
        let needs =
            request.needs.iter().map(|need| json!({"field": need.field, "asset": need.asset, "amount": need.amount}));
        let query = sqlx::query_scalar("SELECT funding_open($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)");
        let query = query.bind(request.order_id.as_str()).bind(holder).bind(request.content()).bind(&request.input);
        let query =
            query.bind(request.user_id.as_str()).bind(request.venue.as_str()).bind(request.deposit_tag.as_str());
        let query = query.bind(needs.collect::<Value>()).bind(json!(request.refund_destination));
        let seconds = i32::try_from(request.payment_timeout.as_secs()).unwrap_or(i32::MAX);
        read(query.bind(seconds).fetch_one(self.pool()).await?)
    }

    /// Reads an order as it is.
    ///
    /// # Errors
    /// `NotFound` when there is none; or when the books can't be reached.
    pub async fn funding_status(&self, order_id: &str) -> Result<FundingStatus, BooksError> {
        let query = sqlx::query_scalar::<_, Option<Value>>("SELECT funding_status($1)");
        let Some(status) = query.bind(order_id).fetch_one(self.pool()).await? else {
            return Err(BooksError::Refused(Box::new(Refusal {
                kind: RefusalKind::NotFound,
                message: format!("there is no order {order_id}"),
                detail: json!({"subject": order_id}),
            })));
        };
        read(status)
    }

    /// Ends the waiting: what was reserved goes back. An order that is funded stays so.
    ///
    /// # Errors
    /// Refused when another workflow holds it, or there is no such order.
    pub async fn funding_expire(
        &self,
        order_id: &str,
        holder: &str,
        reason: &str,
    ) -> Result<FundingStatus, BooksError> {
        let query = sqlx::query_scalar("SELECT funding_expire($1, $2, $3)");
        read(query.bind(order_id).bind(holder).bind(reason).fetch_one(self.pool()).await?)
    }

    /// Gives what a funded order has set aside to its user, to trade with. Returns whether this call did.
    ///
    /// # Errors
    /// `NotAllowed` unless it is funded, `NotFound` when there is none, `InvalidInput` when nobody says who or why.
    pub async fn funding_release(&self, order_id: &str, by: &str, reason: &str) -> Result<bool, BooksError> {
        let query = sqlx::query_scalar("SELECT funding_release($1, $2, $3)");
        Ok(query.bind(order_id).bind(by).bind(reason).fetch_one(self.pool()).await?)
    }

    /// Takes down what the venue's record says of a deposit, once. Returns whether it was new. A record that once said
    /// something else is a finding.
    ///
    /// # Errors
    /// `InvalidInput` for an asset that nobody knows, or what is no amount.
    pub async fn deposit_observe(
        &self,
        venue: &str,
        deposit_id: &str,
        asset: &str,
        network: &str,
        amount: &str,
        tag: Option<&str>,
    ) -> Result<bool, BooksError> {
        let query = sqlx::query_scalar("SELECT deposit_observe($1, $2, $3, $4, $5::numeric, $6)");
        let query = query.bind(venue).bind(deposit_id).bind(asset).bind(network).bind(amount).bind(tag);
        Ok(query.fetch_one(self.pool()).await?)
    }
}
