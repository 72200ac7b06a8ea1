use std::time::Duration;

use sqlx::FromRow;

use super::{
    Books, BooksError,
    pacing::{PermitRow, Slot},
    payouts::millis,
};
use crate::venue::TradeRecord;

/// An order that may be at the venue.
#[derive(Debug, FromRow)]
pub struct OrderRow {
    /// Our id of it, the client order id too.
    pub order_id: String,
    /// What is traded.
    pub base: String,
    /// What it is paid in.
    pub quote: String,
    /// `opened`, `attempted` or `placed`.
    pub state: String,
    /// When it was signed, or else opened, ms since 1970: the venue can't have taken it before.
    pub since_ms: i64,
    /// The venue's id of it, once known.
    pub venue_order_id: Option<String>,
    /// How much of its base its booked fills come to; a decimal string.
    pub booked: String,
    /// The books' clock when this was read, ms since 1970.
    pub now_ms: i64,
}

/// What an order asks for.
#[derive(Clone, Debug)]
pub struct PlacedOrder<'a> {
    /// Our id of it.
    pub order_id: &'a str,
    /// The workflow that carries it.
    pub holder: &'a str,
    /// In which strategy's name.
    pub strategy_key: &'a str,
    /// `buy` or `sell`.
    pub side: &'a str,
    /// Quote per base.
    pub price: &'a str,
    /// How much base.
    pub quantity: &'a str,
}

impl Books {
    /// Sets aside what an order may take. Returns whether this call did.
    ///
    /// # Errors
    /// Refused when the strategy does not run, funds are insufficient or frozen, or the id is taken or held.
    pub async fn order_open(&self, order: &PlacedOrder<'_>) -> Result<bool, BooksError> {
        let query = sqlx::query_scalar("SELECT order_open($1, $2, $3, $4, $5::numeric, $6::numeric)");
        let query = query.bind(order.order_id).bind(order.holder).bind(order.strategy_key);
        Ok(query.bind(order.side).bind(order.price).bind(order.quantity).fetch_one(self.pool()).await?)
    }

    /// Undoes an opening that may or may not have happened; leaves a tombstone where it did not. Returns whether this call
    /// did.
    ///
    /// # Errors
    /// `TooLate` once it was attempted; refused when the id has other content or another holder.
    pub async fn order_abandon(&self, order: &PlacedOrder<'_>, reason: &str) -> Result<bool, BooksError> {
        let query = sqlx::query_scalar("SELECT order_abandon($1, $2, $3, $4, $5::numeric, $6::numeric, $7)");
        let query = query.bind(order.order_id).bind(order.holder).bind(order.strategy_key);
        Ok(query.bind(order.side).bind(order.price).bind(order.quantity).bind(reason).fetch_one(self.pool()).await?)
    }

    /// Records the one attempt in the venue's next slot and gives the timestamp to sign; records nothing while there is
    /// no slot.
    ///
    /// # Errors
    /// `InDoubt` when it was attempted before; `NotAllowed` when the strategy does not run any more; `Halted`.
    pub async fn order_attempt(
        &self,
        order_id: &str,
        holder: &str,
        receive_window: Duration,
        visibility: Duration,
    ) -> Result<Slot<i64>, BooksError> {
        let query = sqlx::query_as("SELECT * FROM order_attempt($1, $2, $3, $4, $5)").bind(order_id).bind(holder);
        let query = query.bind(millis(receive_window)).bind(millis(visibility)).bind(self.lane());
        let row: PermitRow = query.fetch_one(self.pool()).await?;
        row.read(|row| row.signed_at_ms)
    }

    /// Records that the attempt which was signed then certainly was not sent, so that it may be made again. Returns
    /// whether the order is opened now.
    ///
    /// # Errors
    /// When the books can't be reached, or know of no such order, or of one with another holder.
    pub async fn order_not_sent(
        &self,
        order_id: &str,
        holder: &str,
        signed_at_ms: i64,
        detail: &str,
    ) -> Result<bool, BooksError> {
        let query = sqlx::query_scalar("SELECT order_not_sent($1, $2, $3, $4)").bind(order_id).bind(holder);
        Ok(query.bind(signed_at_ms).bind(detail).fetch_one(self.pool()).await?)
    }

    /// Records that the venue has it. Returns whether this call did. One that was never attempted, as far as the books
    /// know, is recorded too, with a critical finding.
    ///
    /// # Errors
    /// When the books can't be reached, or know of no such order.
    pub async fn order_place(&self, order_id: &str, venue_order_id: &str) -> Result<bool, BooksError> {
        let query = sqlx::query_scalar("SELECT order_place($1, $2)").bind(order_id).bind(venue_order_id);
        Ok(query.fetch_one(self.pool()).await?)
    }

    /// Records that the venue has refused it, or that a complete lookup which began at `looked_at_ms` by the books' clock
    /// found nothing. Returns whether it is void now.
    ///
    /// # Errors
    /// When the books can't be reached, or know of no such order.
    pub async fn order_void(
        &self,
        order_id: &str,
        looked_at_ms: i64,
        rejected: bool,
        detail: &str,
    ) -> Result<bool, BooksError> {
        let query = sqlx::query_scalar("SELECT order_void($1, $2, $3, $4)").bind(order_id).bind(looked_at_ms);
        Ok(query.bind(rejected).bind(detail).fetch_one(self.pool()).await?)
    }

    /// Abandons an order that was never attempted, in a strategy that is stopped, when a complete lookup which began at
    /// `looked_at_ms` by the books' clock found nothing, and the time of any attempt that the books may have lost was
    /// over. Returns whether it is abandoned now.
    ///
    /// # Errors
    /// When the books can't be reached, or know of no such order.
    pub async fn order_give_up(
        &self,
        order_id: &str,
        looked_at_ms: i64,
        receive_window: Duration,
        visibility: Duration,
    ) -> Result<bool, BooksError> {
        let query = sqlx::query_scalar("SELECT order_give_up($1, $2, $3, $4)").bind(order_id).bind(looked_at_ms);
        Ok(query.bind(millis(receive_window)).bind(millis(visibility)).fetch_one(self.pool()).await?)
    }

    /// Books a fill by the venue's trade id, once for each order. Returns whether this call did. Amounts are decimal strings.
    ///
    /// # Errors
    /// When the books can't be reached, or know of no such order.
    pub async fn fill_book(
        &self,
        order_id: &str,
        trade_id: &str,
        legs: (&str, &str),
        fee: (&str, &str),
    ) -> Result<bool, BooksError> {
        let query = sqlx::query_scalar("SELECT fill_book($1, $2, $3::numeric, $4::numeric, $5::numeric, $6)");
        let query = query.bind(order_id).bind(trade_id).bind(legs.0).bind(legs.1).bind(fee.0).bind(fee.1);
        Ok(query.fetch_one(self.pool()).await?)
    }

    /// Puts a trade in suspense that belongs to none of our orders, once. Returns whether this call did: not when the books know the
    /// order by now. `client_id` is what the venue knows the order by.
    ///
    /// # Errors
    /// `InvalidInput` when no strategy is of that market, or when the books can't be reached.
    pub async fn fill_suspend(
        &self,
        (venue, symbol): (&str, &str),
        client_id: &str,
        trade: &TradeRecord,
    ) -> Result<bool, BooksError> {
        let query = sqlx::query_scalar(
            "SELECT fill_suspend($1, $2, $3, $4, $5, $6, $7::numeric, $8::numeric, $9::numeric, $10)",
        );
        let query = query.bind(venue).bind(symbol).bind(client_id).bind(&trade.order_id);
        let query = query.bind(format!("{symbol}:{}", trade.id)).bind(if trade.is_buyer { "buy" } else { "sell" });
        let query = query.bind(&trade.quantity).bind(&trade.quote_quantity).bind(&trade.fee).bind(&trade.fee_asset);
        Ok(query.fetch_one(self.pool()).await?)
    }

    /// Ends an order of which the venue executed that much, and releases what is left. Returns whether this call did.
    ///
    /// # Errors
    /// `NotAllowed` while not every executed unit is booked.
    pub async fn order_end(&self, order_id: &str, executed: &str, detail: &str) -> Result<bool, BooksError> {
        let query = sqlx::query_scalar("SELECT order_end($1, $2::numeric, $3)").bind(order_id).bind(executed);
        Ok(query.bind(detail).fetch_one(self.pool()).await?)
    }

    /// The strategies at a venue with orders there that no `RunStrategy` follows: somebody else has their intents executed.
    ///
    /// # Errors
    /// When the books can't be read.
    pub async fn unfollowed_strategies(&self, venue: &str) -> Result<Vec<String>, BooksError> {
        let query = sqlx::query_scalar(
            "SELECT strategy_key FROM strategies AS s
              WHERE venue = $1 AND start_id IS NULL
                AND EXISTS (SELECT FROM orders AS o WHERE o.strategy_key = s.strategy_key AND o.state = 'placed')
              ORDER BY strategy_key",
        );
        Ok(query.bind(venue).fetch_all(self.pool()).await?)
    }

    /// The orders of a strategy that are not over, oldest first.
    ///
    /// # Errors
    /// When the books can't be reached.
    pub async fn live_orders(&self, strategy_key: &str) -> Result<Vec<OrderRow>, BooksError> {
        let query = sqlx::query_as(
            "SELECT order_id, base, quote, state, venue_order_id,
                    trim_scale(coalesce((SELECT sum(f.base) FROM fills AS f WHERE f.order_id = o.order_id), 0))::text AS booked,
                    floor(extract(epoch FROM coalesce(signed_at, changed_at)) * 1000)::bigint AS since_ms,
                    floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint AS now_ms
               FROM orders AS o
              WHERE strategy_key = $1 AND state IN ('opened', 'attempted', 'placed')
              ORDER BY changed_at, order_id",
        );
        Ok(query.bind(strategy_key).fetch_all(self.pool()).await?)
    }
}
