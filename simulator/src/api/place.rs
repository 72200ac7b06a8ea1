//! `POST /api/v3/order`
//! (<https://developers.binance.com/docs/binance-spot-api-docs/rest-api/trading-endpoints>).

use rust_decimal::Decimal;
use serde_json::{Value, json};
use uuid::Uuid;

use super::orders::{check_client_id, money, read_symbol, summary};
use super::{Call, not_recorded};
use crate::answer::Answer;
use crate::journal::Event;
use crate::ledger::Ledger;
use crate::params::Params;
use crate::refusal::{
    INVALID_MESSAGE, INVALID_ORDER_TYPE, INVALID_SIDE, INVALID_TIME_IN_FORCE, MANDATORY_PARAM, NEW_ORDER_REJECTED,
    OPTIONAL_PARAMS_BAD_COMBO, PARAM_NOT_REQUIRED, Refusal,
};
use crate::spot::{Order, OrderType, Side, Step, Symbol, TimeInForce, Trade, engine};

const KNOWN: [&str; 10] = [
    "symbol",
    "side",
    "type",
    "timeInForce",
    "quantity",
    "quoteOrderQty",
    "price",
    "newClientOrderId",
    "newOrderRespType",
    "selfTradePreventionMode",
];

/// How much of the order the answer tells.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Detail {
    Ack,
    Result,
    Full,
}

/// Checks an order, lets it into the market, and tells what it took there.
pub(super) fn place(call: &Call<'_>) -> Result<Answer, Refusal> {
    call.params.only(&KNOWN)?;
    let symbol = read_symbol(call)?;
    let mut ledger = call.app.ledger();
    let mut order = read_order(call, symbol, &ledger)?;
    let detail = read_detail(&call.params, order.kind)?;
    check_filters(symbol, &order, &ledger)?;
    check_market(symbol, &order, &ledger)?;
    order.promise = check_balance(call, symbol, &order, &ledger)?;
    let step = if order.entered_at_ms > call.now {
        Step { order, trades: Vec::new() }
    } else {
        engine::enter(&ledger, &call.app.world, symbol, order, call.now)
    };
    let answer = Answer::order(step.order.id, &describe(call, &step, detail));
    ledger.record(Event::Order(Box::new(step))).map_err(|error| not_recorded(&error))?;
    Ok(answer)
}

fn read_order(call: &Call<'_>, symbol: &Symbol, ledger: &Ledger) -> Result<Order, Refusal> {
    let params = &call.params;
    let side = params.required("side")?;
    let side = Side::from_name(side).ok_or_else(|| Refusal::bad_request(INVALID_SIDE, "Invalid side."))?;
    let kind = params.required("type")?;
    let kind =
        OrderType::from_name(kind).ok_or_else(|| Refusal::bad_request(INVALID_ORDER_TYPE, "Invalid orderType."))?;
    let client_id = params.text("newClientOrderId")?;
    client_id.map_or(Ok(()), |id| check_client_id("newClientOrderId", id))?;
    check_combination(params, kind)?;
    let (settings, twist) = (ledger.settings(), call.twist);
    let entered_at_ms = call.now + twist.late_ms;
    Ok(Order {
        id: ledger.book().next_order_id(),
        symbol: symbol.name.to_owned(),
        base: symbol.base.to_owned(),
        quote: symbol.quote.to_owned(),
        client_id: client_id.map_or_else(|| Uuid::new_v4().simple().to_string(), str::to_owned),
        side,
        kind,
        time_in_force: read_time_in_force(params)?,
        price: params.decimal("price")?.unwrap_or_default(),
        qty: params.decimal("quantity")?.unwrap_or_default(),
        quote_wanted: params.decimal("quoteOrderQty")?.unwrap_or_default(),
        executed: Decimal::ZERO,
        executed_quote: Decimal::ZERO,
        promise: Decimal::ZERO,
        accepted_at_ms: call.now,
        entered_at_ms,
        entered: false,
        entered_mid: Decimal::ZERO,
        updated_at_ms: call.now,
        visible_from_ms: entered_at_ms + twist.hide_ms,
        trade_delay_ms: settings.trade_delay_ms.max(twist.hide_trades_ms),
        clock_offset_ms: settings.clock_offset_ms,
        end: None,
    })
}

/// What each type must carry and must not: the table "Additional mandatory parameters based on type".
fn check_combination(params: &Params, kind: OrderType) -> Result<(), Refusal> {
    let (needed, not_needed): (&[&str], &[&str]) = match kind {
        OrderType::Limit => (&["timeInForce", "quantity", "price"], &["quoteOrderQty"]),
        OrderType::LimitMaker => (&["quantity", "price"], &["timeInForce", "quoteOrderQty"]),
        OrderType::Market => (&[], &["timeInForce", "price"]),
    };
    for name in needed {
        params.required(name)?;
    }
    for name in not_needed {
        if params.text(name)?.is_some() {
            let msg = format!("Parameter '{name}' sent when not required.");
            return Err(Refusal::bad_request(PARAM_NOT_REQUIRED, msg));
        }
    }
    match (params.text("quantity")?, params.text("quoteOrderQty")?) {
        (None, None) => {
            let msg = "Param 'quantity' or 'quoteOrderQty' must be sent, but both were empty/null!";
            Err(Refusal::bad_request(MANDATORY_PARAM, msg))
        }
        (Some(_), Some(_)) => {
            let msg = "Combination of optional parameters invalid.";
            Err(Refusal::bad_request(OPTIONAL_PARAMS_BAD_COMBO, msg))
        }
        _ => Ok(()),
    }
}

fn read_time_in_force(params: &Params) -> Result<TimeInForce, Refusal> {
    let Some(name) = params.text("timeInForce")? else {
        // What the exchange shows for types that have none.
        return Ok(TimeInForce::Gtc);
    };
    TimeInForce::from_name(name).ok_or_else(|| Refusal::bad_request(INVALID_TIME_IN_FORCE, "Invalid timeInForce."))
}

fn read_detail(params: &Params, kind: OrderType) -> Result<Detail, Refusal> {
    // "MARKET and LIMIT order types default to FULL, all other orders default to ACK."
    let default = if kind == OrderType::LimitMaker { "ACK" } else { "FULL" };
    match params.text("newOrderRespType")?.unwrap_or(default) {
        "ACK" => Ok(Detail::Ack),
        "RESULT" => Ok(Detail::Result),
        "FULL" => Ok(Detail::Full),
        _ => Err(Refusal::mandatory("newOrderRespType")),
    }
}

/// `PRICE_FILTER`, `LOT_SIZE` and `NOTIONAL`.
fn check_filters(symbol: &Symbol, order: &Order, ledger: &Ledger) -> Result<(), Refusal> {
    let refused = |msg: &str| Err(Refusal::bad_request(INVALID_MESSAGE, msg));
    let market = order.kind == OrderType::Market;
    let by_quote = order.quote_wanted > Decimal::ZERO;
    if !market && order.price.is_zero() {
        return refused("Invalid price.");
    }
    if !by_quote && order.qty.is_zero() {
        return refused("Invalid quantity.");
    }
    if !(order.price % symbol.tick).is_zero() || order.price > symbol.max_price {
        return refused("Filter failure: PRICE_FILTER");
    }
    if !(order.qty % symbol.step).is_zero() || order.qty > symbol.max_qty {
        return refused("Filter failure: LOT_SIZE");
    }
    let notional = match () {
        () if by_quote => order.quote_wanted,
        () if market => engine::mid(ledger, symbol, order.entered_at_ms) * order.qty,
        () => order.price * order.qty,
    };
    // The upper end is not for market orders: `applyMaxToMarket` is false.
    if notional < symbol.min_notional || !market && notional > symbol.max_notional {
        return refused("Filter failure: NOTIONAL");
    }
    Ok(())
}

/// What the matching engine refuses, whatever the balance.
fn check_market(symbol: &Symbol, order: &Order, ledger: &Ledger) -> Result<(), Refusal> {
    let same_id = |other: &Order| other.symbol == order.symbol && other.client_id == order.client_id;
    if ledger.book().live().any(same_id) {
        return Err(Refusal::bad_request(NEW_ORDER_REJECTED, "Duplicate order sent."));
    }
    if order.kind == OrderType::LimitMaker && engine::would_take(ledger, symbol, order, order.entered_at_ms) {
        let msg = "Order would immediately match and take.";
        return Err(Refusal::bad_request(NEW_ORDER_REJECTED, msg));
    }
    Ok(())
}

/// What the order needs of the asset it spends; refused when the balance does not cover it.
fn check_balance(call: &Call<'_>, symbol: &Symbol, order: &Order, ledger: &Ledger) -> Result<Decimal, Refusal> {
    let needed = engine::needed(ledger, symbol, order, order.entered_at_ms);
    if ledger.spendable(order.spends(), call.now) < needed {
        let msg = "Account has insufficient balance for requested action.";
        return Err(Refusal::bad_request(NEW_ORDER_REJECTED, msg));
    }
    Ok(needed)
}

fn describe(call: &Call<'_>, Step { order, trades }: &Step, detail: Detail) -> Value {
    let mut shown = match detail {
        Detail::Ack => json!({
            "symbol": order.symbol,
            "orderId": order.id,
            "orderListId": -1,
            "clientOrderId": order.client_id,
        }),
        Detail::Result | Detail::Full => summary(order, call.now),
    };
    shown["transactTime"] = json!(call.server_now);
    if detail == Detail::Full {
        shown["fills"] = trades.iter().map(describe_fill).collect();
    }
    shown
}

fn describe_fill(trade: &Trade) -> Value {
    json!({
        "price": money(trade.price),
        "qty": money(trade.qty),
        "commission": money(trade.fee),
        "commissionAsset": trade.fee_asset,
        "tradeId": trade.id,
    })
}
