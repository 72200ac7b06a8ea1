//! `GET` and `DELETE /api/v3/order`, `GET /api/v3/openOrders`, `GET /api/v3/allOrders`
//! (<https://developers.binance.com/docs/binance-spot-api-docs/rest-api/trading-endpoints> and
//! <https://developers.binance.com/docs/binance-spot-api-docs/rest-api/account-endpoints>).

use rust_decimal::Decimal;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Call, not_recorded};
use crate::answer::Answer;
use crate::clock::{DAY_MS, Millis};
use crate::journal::Event;
use crate::ledger::Ledger;
use crate::params::Params;
use crate::refusal::{BAD_SYMBOL, CANCEL_REJECTED, MANDATORY_PARAM, MORE_THAN_A_DAY, NO_SUCH_ORDER, Refusal};
use crate::spot::{Order, OrderEnd, OrderState, PLACES, Step, Symbol};

/// The legal range the API pages give for client ids.
const CLIENT_ID_RANGE: &str = "^[a-zA-Z0-9-_]{1,36}$";
/// The same for symbols.
const SYMBOL_RANGE: &str = "^[A-Z0-9-_.]{1,20}$";
/// The largest page, and the default one.
const MAX_LIMIT: i64 = 1000;
const DEFAULT_LIMIT: i64 = 500;

/// One order, by `orderId` or `origClientOrderId`. Of several with the same client id, the newest.
pub(super) fn order(call: &Call<'_>) -> Result<Answer, Refusal> {
    call.params.only(&["symbol", "orderId", "origClientOrderId"])?;
    let symbol = read_symbol(call)?;
    let wanted = Wanted::read(&call.params)?;
    let ledger = call.app.ledger();
    let found = wanted.find(symbol, &ledger, call.now).filter(|order| order.is_shown(call.now));
    let order = found.ok_or_else(|| Refusal::bad_request(NO_SUCH_ORDER, "Order does not exist."))?;
    Ok(Answer::order(order.id, &describe(order, call.now)))
}

/// Ends an open order, which goes by the id of the cancel from then on. One told to be late is cancelled then, unless it was filled by that time.
pub(super) fn cancel(call: &Call<'_>) -> Result<Answer, Refusal> {
    call.params.only(&["symbol", "orderId", "origClientOrderId", "newClientOrderId", "cancelRestrictions"])?;
    let symbol = read_symbol(call)?;
    let wanted = Wanted::read(&call.params)?;
    let own_id = call.params.text("newClientOrderId")?;
    own_id.map_or(Ok(()), |id| check_client_id("newClientOrderId", id))?;
    let mut ledger = call.app.ledger();
    let open = wanted.find(symbol, &ledger, call.now).filter(|order| order.state(call.now).is_open());
    let mut order = open.cloned().ok_or_else(|| Refusal::bad_request(CANCEL_REJECTED, "Unknown order sent."))?;
    let at_ms = call.now + call.twist.late_ms;
    order.updated_at_ms = call.now;
    let cancel_id = own_id.map_or_else(|| Uuid::new_v4().simple().to_string(), str::to_owned);
    let new_client_id = ledger.settings().cancel_renames.then(|| cancel_id.clone());
    order.end = Some(OrderEnd { at_ms, state: OrderState::Canceled, new_client_id });
    let mut shown = summary(&order, at_ms);
    shown["origClientOrderId"] = json!(order.client_id);
    shown["clientOrderId"] = json!(cancel_id);
    shown["transactTime"] = json!(call.server_now);
    let answer = Answer::order(order.id, &shown);
    let step = Step { order, trades: Vec::new() };
    ledger.record(Event::Order(Box::new(step))).map_err(|error| not_recorded(&error))?;
    Ok(answer)
}

/// Orders in the market, of one symbol or of all.
pub(super) fn open_orders(call: &Call<'_>) -> Result<Answer, Refusal> {
    call.params.only(&["symbol"])?;
    let symbol = call.params.text("symbol")?.map(|_| read_symbol(call)).transpose()?;
    let ledger = call.app.ledger();
    let open = ledger.book().live().filter(|order| {
        symbol.is_none_or(|symbol| order.symbol == symbol.name)
            && order.is_shown(call.now)
            && order.state(call.now).is_open()
    });
    Ok(Answer::ok(&open.map(|order| describe(order, call.now)).collect()))
}

/// Orders of a symbol, whatever became of them: from an id or an interval on, or the newest.
pub(super) fn all_orders(call: &Call<'_>) -> Result<Answer, Refusal> {
    call.params.only(&["symbol", "orderId", "startTime", "endTime", "limit"])?;
    let symbol = read_symbol(call)?;
    let from_id = call.params.integer("orderId")?;
    let interval = Interval::read(&call.params)?;
    let limit = read_limit(&call.params)?;
    let ledger = call.app.ledger();
    let matching = ledger.book().orders().iter().filter(|order| {
        order.symbol == symbol.name
            && order.is_shown(call.now)
            && from_id.is_none_or(|from| order.id >= from.unsigned_abs())
            && interval.holds(order.entered_at_ms + order.clock_offset_ms)
    });
    let page = cut(matching.collect(), limit, from_id.is_some() || interval.from.is_some());
    Ok(Answer::ok(&page.into_iter().map(|order| describe(order, call.now)).collect()))
}

/// How a request names an order.
struct Wanted<'a> {
    id: Option<u64>,
    client_id: Option<&'a str>,
}

impl<'a> Wanted<'a> {
    fn read(params: &'a Params) -> Result<Self, Refusal> {
        let id = params.integer("orderId")?.map(i64::unsigned_abs);
        let client_id = params.text("origClientOrderId")?;
        if id.is_none() && client_id.is_none() {
            let msg = "Param 'origClientOrderId' or 'orderId' must be sent, but both were empty/null!";
            return Err(Refusal::bad_request(MANDATORY_PARAM, msg));
        }
        Ok(Self { id, client_id })
    }

    /// With both, the order of that id must have that client id, too.
    fn find<'b>(&self, symbol: &Symbol, ledger: &'b Ledger, now: Millis) -> Option<&'b Order> {
        let book = ledger.book();
        let found = match (self.id, self.client_id) {
            (Some(id), _) => book.order(id),
            (None, Some(client_id)) => book.newest_known_as(symbol.name, client_id, now),
            (None, None) => None,
        };
        let fits = |order: &&Order| {
            order.symbol == symbol.name && self.client_id.is_none_or(|client_id| order.known_as(now) == client_id)
        };
        found.filter(fits)
    }
}

/// `startTime` and `endTime` on the server's clock, both included.
pub(super) struct Interval {
    pub(super) from: Option<Millis>,
    to: Option<Millis>,
}

impl Interval {
    pub(super) fn read(params: &Params) -> Result<Self, Refusal> {
        let (from, to) = (params.integer("startTime")?, params.integer("endTime")?);
        let length = from.zip(to).map(|(from, to)| to - from);
        if length.is_some_and(|length| length > DAY_MS) {
            let msg = "More than 24 hours between startTime and endTime.";
            return Err(Refusal::bad_request(MORE_THAN_A_DAY, msg));
        }
        Ok(Self { from, to })
    }

    pub(super) fn is_named(&self) -> bool {
        self.from.is_some() || self.to.is_some()
    }

    pub(super) fn holds(&self, moment: Millis) -> bool {
        self.from.is_none_or(|from| moment >= from) && self.to.is_none_or(|to| moment <= to)
    }
}

pub(super) fn read_limit(params: &Params) -> Result<usize, Refusal> {
    let limit = params.integer("limit")?.unwrap_or(DEFAULT_LIMIT).min(MAX_LIMIT);
    Ok(usize::try_from(limit).unwrap_or_default())
}

/// The oldest of what was found when the query says where to begin, otherwise the newest; oldest first either way.
pub(super) fn cut<T>(mut found: Vec<T>, limit: usize, from_the_start: bool) -> Vec<T> {
    if from_the_start {
        found.truncate(limit);
        return found;
    }
    found.split_off(found.len().saturating_sub(limit))
}

pub(super) fn read_symbol<'a>(call: &Call<'a>) -> Result<&'a Symbol, Refusal> {
    let name = call.params.required("symbol")?;
    let legal = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || b"-_.".contains(&byte);
    if name.len() > 20 || !name.bytes().all(legal) {
        return Err(Refusal::illegal_chars("symbol", SYMBOL_RANGE));
    }
    call.app.world.symbol(name).ok_or_else(|| Refusal::bad_request(BAD_SYMBOL, "Invalid symbol."))
}

pub(super) fn check_client_id(name: &str, id: &str) -> Result<(), Refusal> {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    if id.len() <= 36 && id.bytes().all(legal) {
        return Ok(());
    }
    Err(Refusal::illegal_chars(name, CLIENT_ID_RANGE))
}

/// What all answers about an order tell.
pub(super) fn summary(order: &Order, now: Millis) -> Value {
    // One that is promised for later is told as if it were in the market already.
    let state = Some(order.state(now)).filter(|state| *state != OrderState::Accepted);
    json!({
        "symbol": order.symbol,
        "orderId": order.id,
        "orderListId": -1,
        "clientOrderId": order.known_as(now),
        "price": money(order.price),
        "origQty": money(order.qty),
        "executedQty": money(order.executed),
        "origQuoteOrderQty": money(order.quote_wanted),
        "cummulativeQuoteQty": money(order.executed_quote),
        "status": state.unwrap_or(OrderState::New),
        "timeInForce": order.time_in_force,
        "type": order.kind,
        "side": order.side,
        "workingTime": order.entered_at_ms + order.clock_offset_ms,
        "selfTradePreventionMode": "NONE",
    })
}

fn describe(order: &Order, now: Millis) -> Value {
    let mut shown = summary(order, now);
    let ended = order.end.as_ref().map(|end| end.at_ms).filter(|at_ms| *at_ms <= now);
    shown["stopPrice"] = json!(money(Decimal::ZERO));
    shown["icebergQty"] = json!(money(Decimal::ZERO));
    shown["time"] = json!(order.entered_at_ms + order.clock_offset_ms);
    shown["updateTime"] = json!(ended.unwrap_or(order.updated_at_ms) + order.clock_offset_ms);
    shown["isWorking"] = json!(true);
    shown
}

/// Amounts are written with eight decimal places, whatever they need.
pub(super) fn money(amount: Decimal) -> String {
    let places = usize::try_from(PLACES).unwrap_or_default();
    format!("{amount:.places$}")
}
