//! Orders and trades: what really happened, fills and endings made by hand.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Path, Query, State};
use bytes::Bytes;
use rust_decimal::Decimal;
use serde_json::{Value, json};

use super::{AdminError, Filters, Reply, Shared};
use crate::app::App;
use crate::clock::{LATEST_MS, Millis, wall_ms};
use crate::fields::{BadInput, Fields};
use crate::journal::Event;
use crate::ledger::Ledger;
use crate::spot::{Fill, Order, OrderEnd, OrderState, Step, Trade, engine};

pub(super) async fn orders(State(app): Shared, query: Query<BTreeMap<String, String>>) -> Reply {
    let filters = Filters::of(query, &["client_id", "symbol"])?;
    let ledger = app.ledger();
    let now = wall_ms();
    let passing = ledger.book().orders().iter().filter(|order| {
        filters.pass("client_id", Some(&order.client_id)) && filters.pass("symbol", Some(&order.symbol))
    });
    Ok(Json(passing.map(|order| describe(order, now)).collect()))
}

pub(super) async fn trades(State(app): Shared, query: Query<BTreeMap<String, String>>) -> Reply {
    let filters = Filters::of(query, &["client_id", "order_id", "symbol"])?;
    let ledger = app.ledger();
    let book = ledger.book();
    let client_id = |trade: &Trade| book.order(trade.order_id).map(|order| order.client_id.as_str());
    let passing = book.trades().iter().filter(|trade| {
        filters.pass("client_id", client_id(trade))
            && filters.pass("order_id", Some(&trade.order_id.to_string()))
            && filters.pass("symbol", Some(&trade.symbol))
    });
    Ok(Json(passing.map(|trade| describe_trade(trade, client_id(trade))).collect()))
}

/// Fills an open order, in part or to its end, at its own price unless told another.
pub(super) async fn fill(State(app): Shared, Path(id): Path<String>, body: Bytes) -> Reply {
    let mut fields = Fields::from_body(&body)?;
    let mut ledger = app.ledger();
    let now = wall_ms();
    let order = find(&ledger, &id)?;
    let step = read_fill(&mut fields, &app, &ledger, order, now)?;
    fields.finish()?;
    let shown: Vec<Value> =
        step.trades.iter().map(|trade| describe_trade(trade, Some(&step.order.client_id))).collect();
    let shown = json!({"order": describe(&step.order, now), "trades": shown});
    ledger.record(Event::Order(Box::new(step)))?;
    Ok(Json(shown))
}

fn read_fill(fields: &mut Fields, app: &App, ledger: &Ledger, order: Order, now: Millis) -> Result<Step, BadInput> {
    let qty = fields.required_amount("qty")?;
    let open = if order.state(now).is_open() { order.remaining() } else { Decimal::ZERO };
    if qty.is_zero() || qty > open {
        let expected = format!("expected more than 0 and no more than is open of the order, which is {open}");
        return Err(BadInput::new("qty", expected));
    }
    let price = fields.optional_amount("price")?.unwrap_or(order.price);
    if price.is_zero() {
        return Err(BadInput::new("price", "expected more than 0"));
    }
    let fee = fields.optional_amount("fee")?;
    let fee_asset = fields.text("fee_asset")?;
    if fee_asset.as_deref().is_some_and(|asset| app.world.coin(asset).is_none()) {
        return Err(BadInput::new("fee_asset", "expected a coin of the exchange"));
    }
    let fee = match (fee, fee_asset) {
        (Some(fee), Some(asset)) => Some((fee, asset)),
        (None, None) => None,
        _ => return Err(BadInput::new("fee_asset", "expected together with \"fee\"")),
    };
    let visible_from_ms = fields.number("visible_from_ms", 0, LATEST_MS)?;
    let time_ms = fields.number("time_ms", 0, LATEST_MS)?;
    let mut step = engine::fill(ledger, &app.world, order, Fill { price, qty }, fee, now);
    for trade in &mut step.trades {
        trade.visible_from_ms = visible_from_ms.unwrap_or(trade.visible_from_ms);
        trade.time_ms = time_ms.unwrap_or(trade.time_ms);
    }
    Ok(step)
}

/// Ends an order that is not over yet; with another id from then on, if told so, as an operator's cancel would.
pub(super) async fn end(State(app): Shared, Path(id): Path<String>, body: Bytes) -> Reply {
    let mut fields = Fields::from_body(&body)?;
    let name = fields.required_text("state")?;
    let new_client_id = fields.text("new_client_id")?;
    let at_ms = fields.number("at_ms", 0, LATEST_MS)?;
    fields.finish()?;
    let state = OrderState::ending(&name).ok_or_else(|| {
        let known = OrderState::endings();
        BadInput::new("state", format!("expected one of {known}, got \"{name}\""))
    })?;
    let mut ledger = app.ledger();
    let now = wall_ms();
    let mut order = find(&ledger, &id)?;
    if order.state(now).is_over() {
        let is = json!(order.state(now));
        return Err(BadInput::new("state", format!("the order is over already: it is {is}")).into());
    }
    let at_ms = at_ms.unwrap_or(now).min(now);
    order.updated_at_ms = at_ms;
    order.end = Some(OrderEnd { at_ms, state, new_client_id });
    let shown = describe(&order, now);
    ledger.record(Event::Order(Box::new(Step { order, trades: Vec::new() })))?;
    Ok(Json(shown))
}

/// Says from when on lookups show an order; in the future, it vanishes.
pub(super) async fn show(State(app): Shared, Path(id): Path<String>, body: Bytes) -> Reply {
    let mut fields = Fields::from_body(&body)?;
    let from_ms = fields.number("from_ms", 0, LATEST_MS)?;
    fields.finish()?;
    let from_ms = from_ms.ok_or_else(|| BadInput::new("from_ms", "expected a moment"))?;
    let mut ledger = app.ledger();
    let mut order = find(&ledger, &id)?;
    order.visible_from_ms = from_ms;
    let shown = describe(&order, wall_ms());
    ledger.record(Event::Order(Box::new(Step { order, trades: Vec::new() })))?;
    Ok(Json(shown))
}

fn find(ledger: &Ledger, id: &str) -> Result<Order, AdminError> {
    let order = id.parse().ok().and_then(|id| ledger.book().order(id));
    order.cloned().ok_or_else(|| AdminError::not_found("order", id))
}

fn describe(order: &Order, now: Millis) -> Value {
    json!({
        "id": order.id.to_string(),
        "client_id": order.client_id,
        "known_as": order.known_as(now),
        "symbol": order.symbol,
        "side": order.side,
        "type": order.kind,
        "time_in_force": order.time_in_force,
        "price": plain(order.price),
        "qty": plain(order.qty),
        "executed_qty": plain(order.executed),
        "executed_quote_qty": plain(order.executed_quote),
        "locked": plain(order.locked(now)),
        "state": order.state(now),
        "accepted_at_ms": order.accepted_at_ms,
        "entered_at_ms": order.entered_at_ms,
        "updated_at_ms": order.updated_at_ms,
        "visible_from_ms": order.visible_from_ms,
    })
}

fn describe_trade(trade: &Trade, client_id: Option<&str>) -> Value {
    json!({
        "id": trade.id.to_string(),
        "order_id": trade.order_id.to_string(),
        "client_id": client_id,
        "symbol": trade.symbol,
        "side": trade.side,
        "price": plain(trade.price),
        "qty": plain(trade.qty),
        "quote_qty": plain(trade.quote_qty),
        "fee": plain(trade.fee),
        "fee_asset": trade.fee_asset,
        "maker": trade.maker,
        "at_ms": trade.at_ms,
        "visible_from_ms": trade.visible_from_ms,
    })
}

fn plain(amount: Decimal) -> String {
    amount.normalize().to_string()
}
