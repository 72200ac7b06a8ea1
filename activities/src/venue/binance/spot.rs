//! Orders and trades in the Binance Spot REST dialect
//! (<https://developers.binance.com/docs/binance-spot-api-docs/rest-api>).

use backstop_domain::{Amount, Filters, Pair};
use futures::{FutureExt, future::BoxFuture};
use reqwest::{Method, StatusCode};
use serde::{Deserialize, de::DeserializeOwned};
use uuid::Uuid;

use super::super::spot::{
    Balance, NewOrder, OrderEnding, OrderKind, OrderRecord, OrderState, Side, Spot, TimeInForce, Top, TradeRecord,
};
use super::super::{LookupFailed, SendOutcome};
use super::{Answer, Binance, ErrorBody, describe, read_sent, refusal_text};
use crate::books::Priority;

const ORDER: &str = "api/v3/order";
const OPEN_ORDERS: &str = "api/v3/openOrders";
pub(super) const TRADES: &str = "api/v3/myTrades";

/// The codes of `POST /api/v3/order` that mean "refused, and nothing happened": authorization, malformed parameters,
/// filters, and what the matching engine turned away ("Error codes for Binance"). Closed on purpose: any other code is
/// an unknown outcome.
const ORDER_REJECTIONS: &[i64] = &[
    -1002, -1013, -1014, -1020, -1022, -1100, -1101, -1102, -1103, -1104, -1105, -1106, -1111, -1114, -1115, -1116,
    -1117, -1118, -1121, -1128, -1131, -2014, -2015,
];
/// The matching engine refused the order; its message says why. One of the reasons is an order that is there.
const NEW_ORDER_REJECTED: i64 = -2010;
/// The same for `DELETE /api/v3/order`, with "not open" in place of what an order can be refused for.
const CANCEL_REJECTIONS: &[i64] =
    &[-1002, -1022, -1100, -1101, -1102, -1103, -1104, -1105, -1106, -1119, -1121, -1128, -1131, -2011, -2014, -2015];
/// "Order does not exist." The one answer that means it.
const NO_SUCH_ORDER: i64 = -2013;
/// The most rows `myTrades` gives at once.
const TRADES_PAGE: usize = 1_000;
/// More trades of one order than this many pages is a venue that does not advance.
const TRADES_PAGES_MAX: usize = 1_000;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Placed {
    symbol: String,
    order_id: u64,
    client_order_id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Cancelled {
    symbol: String,
    order_id: u64,
    orig_client_order_id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct OrderRow {
    symbol: String,
    pub(super) order_id: u64,
    client_order_id: String,
    status: String,
    price: String,
    orig_qty: String,
    executed_qty: String,
    /// Spelled so by the venue. Negative for some old orders, "data not available": unreadable then.
    cummulative_quote_qty: String,
    time: i64,
    update_time: i64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TradeRow {
    symbol: String,
    pub(super) id: u64,
    pub(super) order_id: u64,
    price: String,
    qty: String,
    quote_qty: String,
    commission: String,
    commission_asset: String,
    time: i64,
    is_buyer: bool,
    is_maker: bool,
}

impl Spot for Binance {
    fn place<'a>(&'a self, order: NewOrder<'a>, signed_at_ms: i64) -> BoxFuture<'a, SendOutcome> {
        async move {
            let read = |body: &[u8]| {
                let placed: Placed = json(body)?;
                same("client id", &placed.client_order_id, order.client_id)?;
                same("symbol", &placed.symbol, order.symbol)?;
                Ok(placed.order_id.to_string())
            };
            let parameters = order_parameters(&order);
            self.send(Method::POST, &parameters, signed_at_ms, order_is_refused, read).await
        }
        .boxed()
    }

    fn cancel<'a>(&'a self, symbol: &'a str, client_id: &'a str, now_ms: i64) -> BoxFuture<'a, SendOutcome> {
        async move {
            let signed_at_ms = match self.pacer.turn(Priority::Cancel, now_ms).await {
                Ok(signed_at_ms) => signed_at_ms,
                Err(LookupFailed { reason, after }) => return SendOutcome::NotSent { reason, after },
            };
            let read = |body: &[u8]| {
                let cancelled: Cancelled = json(body)?;
                same("client id", &cancelled.orig_client_order_id, client_id)?;
                same("symbol", &cancelled.symbol, symbol)?;
                Ok(cancelled.order_id.to_string())
            };
            let cancel_id = cancel_id(client_id);
            let parameters =
                [("symbol", symbol), ("origClientOrderId", client_id), ("newClientOrderId", cancel_id.as_str())];
            let refused = |error: &ErrorBody| CANCEL_REJECTIONS.contains(&error.code);
            self.send(Method::DELETE, &parameters, signed_at_ms, refused, read).await
        }
        .boxed()
    }

    fn order_in_turn<'a>(
        &'a self,
        symbol: &'a str,
        client_id: &'a str,
        now_ms: i64,
        priority: Priority,
    ) -> BoxFuture<'a, Result<Option<OrderRecord>, LookupFailed>> {
        async move {
            let cancel_id = cancel_id(client_id);
            for (known_as, priority) in [(client_id, priority), (&cancel_id, Priority::Look)] {
                let found = self.one_order(symbol, ("origClientOrderId", known_as), now_ms, priority).await?;
                let Some(record) = found else { continue };
                if record.client_id != cancel_id {
                    same("client id", &record.client_id, client_id).map_err(unreadable)?;
                }
                return Ok(Some(OrderRecord { client_id: client_id.to_owned(), ..record }));
            }
            Ok(None)
        }
        .boxed()
    }

    fn order_by_id<'a>(
        &'a self,
        symbol: &'a str,
        venue_order_id: &'a str,
        now_ms: i64,
    ) -> BoxFuture<'a, Result<Option<OrderRecord>, LookupFailed>> {
        async move {
            let found = self.one_order(symbol, ("orderId", venue_order_id), now_ms, Priority::Look).await?;
            if let Some(record) = &found {
                same("order", &record.id, venue_order_id).map_err(unreadable)?;
            }
            Ok(found)
        }
        .boxed()
    }

    fn filters<'a>(&'a self, pair: &'a Pair) -> BoxFuture<'a, Result<Option<Filters>, LookupFailed>> {
        self.filters_of(pair).boxed()
    }

    fn top<'a>(&'a self, symbol: &'a str) -> BoxFuture<'a, Result<Top, LookupFailed>> {
        self.top_of(symbol).boxed()
    }

    fn open_orders<'a>(
        &'a self,
        symbol: &'a str,
        now_ms: i64,
    ) -> BoxFuture<'a, Result<Vec<OrderRecord>, LookupFailed>> {
        async move {
            let answer = self.look_up(OPEN_ORDERS, &[("symbol", symbol)], now_ms).await?;
            let rows: Vec<OrderRow> = read_answer(answer)?;
            rows.into_iter().map(|row| read_order(row, symbol).map_err(unreadable)).collect()
        }
        .boxed()
    }

    fn orders_since<'a>(
        &'a self,
        symbol: &'a str,
        from_ms: i64,
        now_ms: i64,
    ) -> BoxFuture<'a, Result<Vec<OrderRecord>, LookupFailed>> {
        self.every_order(symbol, from_ms, now_ms).boxed()
    }

    fn known_as_when_cancelled(&self, client_id: &str) -> String {
        cancel_id(client_id)
    }

    fn trades_since<'a>(
        &'a self,
        symbol: &'a str,
        from_ms: i64,
        now_ms: i64,
    ) -> BoxFuture<'a, Result<Vec<TradeRecord>, LookupFailed>> {
        self.every_trade(symbol, from_ms, now_ms).boxed()
    }

    fn balances(&self, now_ms: i64) -> BoxFuture<'_, Result<Vec<Balance>, LookupFailed>> {
        self.account_balances(now_ms).boxed()
    }

    fn trades<'a>(
        &'a self,
        symbol: &'a str,
        venue_order_id: &'a str,
        now_ms: i64,
    ) -> BoxFuture<'a, Result<Vec<TradeRecord>, LookupFailed>> {
        async move {
            let mut found = Vec::new();
            let mut from_id = 0;
            for _ in 0..TRADES_PAGES_MAX {
                let rows = self.trades_page(symbol, venue_order_id, from_id, now_ms).await?;
                let full = rows.len() >= TRADES_PAGE;
                for row in rows {
                    if row.id < from_id {
                        return Err(unreadable(format!("trade {} is out of order", row.id)));
                    }
                    from_id = row.id + 1;
                    found.push(read_trade(row, symbol, venue_order_id).map_err(unreadable)?);
                }
                if !full {
                    return Ok(found);
                }
            }
            Err(unreadable("more trades than one order can have".into()))
        }
        .boxed()
    }
}

impl Binance {
    /// Sends what changes something, once.
    async fn send(
        &self,
        method: Method,
        parameters: &[(&str, &str)],
        signed_at_ms: i64,
        refused: impl Fn(&ErrorBody) -> bool,
        read_id: impl Fn(&[u8]) -> Result<String, String>,
    ) -> SendOutcome {
        match self.signed(method, ORDER, parameters, signed_at_ms).await {
            Err(error) if error.is_connect() => SendOutcome::NotSent { reason: describe(&error), after: None },
            Err(error) => SendOutcome::Unknown(describe(&error)),
            Ok(answer) => read_sent(answer, refused, read_id).await,
        }
    }

    async fn one_order(
        &self,
        symbol: &str,
        named: (&str, &str),
        now_ms: i64,
        priority: Priority,
    ) -> Result<Option<OrderRecord>, LookupFailed> {
        let (status, after, body) = self.look_up_in_turn(ORDER, &[("symbol", symbol), named], now_ms, priority).await?;
        if status == StatusCode::BAD_REQUEST && code(&body) == Some(NO_SUCH_ORDER) {
            return Ok(None);
        }
        let row: OrderRow = read_answer((status, after, body))?;
        read_order(row, symbol).map(Some).map_err(unreadable)
    }

    /// Trades of an order from a trade's id on. Without `fromId` the venue gives the newest only.
    async fn trades_page(
        &self,
        symbol: &str,
        venue_order_id: &str,
        from_id: u64,
        now_ms: i64,
    ) -> Result<Vec<TradeRow>, LookupFailed> {
        let (from_id, limit) = (from_id.to_string(), TRADES_PAGE.to_string());
        let parameters =
            [("symbol", symbol), ("orderId", venue_order_id), ("fromId", from_id.as_str()), ("limit", limit.as_str())];
        read_answer(self.look_up(TRADES, &parameters, now_ms).await?)
    }
}

/// The id of our cancel of an order. "`newClientOrderId` will replace `clientOrderId` of the canceled order, freeing it
/// up for new orders" (WebSocket API, "Cancel order"): derived, so that the order is found by it as well.
fn cancel_id(client_id: &str) -> String {
    Uuid::new_v5(&Uuid::NAMESPACE_URL, format!("backstop:cancel:{client_id}").as_bytes()).simple().to_string()
}

fn order_parameters<'a>(order: &NewOrder<'a>) -> Vec<(&'static str, &'a str)> {
    let side = match order.side {
        Side::Buy => "BUY",
        Side::Sell => "SELL",
    };
    let mut parameters = vec![
        ("symbol", order.symbol),
        ("side", side),
        ("quantity", order.quantity),
        ("newClientOrderId", order.client_id),
        // What was traded is read from the trades, never from here: the shortest answer is the one least often lost.
        ("newOrderRespType", "ACK"),
    ];
    match order.kind {
        OrderKind::Market => parameters.push(("type", "MARKET")),
        OrderKind::LimitMaker { price } => parameters.extend([("type", "LIMIT_MAKER"), ("price", price)]),
        OrderKind::Limit { price, time_in_force } => {
            let time_in_force = match time_in_force {
                TimeInForce::GoodTillCancelled => "GTC",
                TimeInForce::ImmediateOrCancel => "IOC",
                TimeInForce::FillOrKill => "FOK",
            };
            parameters.extend([("type", "LIMIT"), ("price", price), ("timeInForce", time_in_force)]);
        }
    }
    parameters
}

/// "Duplicate order sent." has the code of a refusal, but says that the order is there. It is told from the others by
/// its message, as the venue gives it nothing else; any wording with that word is taken for it.
fn order_is_refused(error: &ErrorBody) -> bool {
    let duplicate = error.msg.to_ascii_lowercase().contains("duplicate");
    ORDER_REJECTIONS.contains(&error.code) || error.code == NEW_ORDER_REJECTED && !duplicate
}

pub(super) fn read_order(row: OrderRow, symbol: &str) -> Result<OrderRecord, String> {
    same("symbol", &row.symbol, symbol)?;
    // Spot API, "Enum definitions: Order status".
    let state = match row.status.as_str() {
        "NEW" | "PENDING_NEW" | "PARTIALLY_FILLED" | "PENDING_CANCEL" => OrderState::Open,
        "FILLED" => OrderState::Ended(OrderEnding::Filled),
        "CANCELED" => OrderState::Ended(OrderEnding::Canceled),
        "REJECTED" => OrderState::Ended(OrderEnding::Rejected),
        "EXPIRED" | "EXPIRED_IN_MATCH" => OrderState::Ended(OrderEnding::Expired),
        other => return Err(format!("status {other:?} of order {}", row.order_id)),
    };
    for amount in [&row.price, &row.orig_qty, &row.executed_qty, &row.cummulative_quote_qty] {
        Amount::parse_part(amount).map_err(|_| format!("amount {amount:?} of order {}", row.order_id))?;
    }
    Ok(OrderRecord {
        id: row.order_id.to_string(),
        client_id: row.client_order_id,
        state,
        price: row.price,
        quantity: row.orig_qty,
        executed_quantity: row.executed_qty,
        executed_quote: row.cummulative_quote_qty,
        placed_at_ms: row.time,
        updated_at_ms: row.update_time,
    })
}

pub(super) fn read_trade(row: TradeRow, symbol: &str, venue_order_id: &str) -> Result<TradeRecord, String> {
    same("symbol", &row.symbol, symbol)?;
    same("order", &row.order_id.to_string(), venue_order_id)?;
    // A commission below zero is a rebate.
    let commission = row.commission.strip_prefix('-').unwrap_or(&row.commission);
    for amount in [&row.price, &row.qty, &row.quote_qty, commission] {
        Amount::parse_part(amount).map_err(|_| format!("amount {amount:?} of trade {}", row.id))?;
    }
    Ok(TradeRecord {
        id: row.id.to_string(),
        order_id: row.order_id.to_string(),
        price: row.price,
        quantity: row.qty,
        quote_quantity: row.quote_qty,
        fee: row.commission,
        fee_asset: row.commission_asset,
        is_buyer: row.is_buyer,
        is_maker: row.is_maker,
        traded_at_ms: row.time,
    })
}

pub(super) fn read_answer<T: DeserializeOwned>((status, after, body): Answer) -> Result<T, LookupFailed> {
    if status != StatusCode::OK {
        return Err(LookupFailed { reason: refusal_text(status, &body), after });
    }
    json(&body).map_err(unreadable)
}

pub(super) fn json<T: DeserializeOwned>(body: &[u8]) -> Result<T, String> {
    serde_json::from_slice(body).map_err(|error| error.to_string())
}

pub(super) fn code(body: &[u8]) -> Option<i64> {
    serde_json::from_slice::<ErrorBody>(body).ok().map(|error| error.code)
}

/// An answer about something else than was asked for is no answer.
pub(super) fn same(what: &str, answered: &str, asked: &str) -> Result<(), String> {
    if answered == asked { Ok(()) } else { Err(format!("the answer is about another {what}: {answered:?}")) }
}

pub(super) fn unreadable(mut what: String) -> LookupFailed {
    what.insert_str(0, "unreadable record: ");
    LookupFailed { reason: what, after: None }
}
