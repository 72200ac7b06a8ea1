//! What happens to orders: they enter the market, take what they find, rest, are filled and end.

use std::io;

use rust_decimal::Decimal;

use super::order::cost;
use super::{Fill, Level, Order, OrderEnd, OrderState, OrderType, Side, Step, Symbol, Trade, depth, fees, price};
use crate::clock::Millis;
use crate::journal::Event;
use crate::ledger::Ledger;
use crate::world::World;

pub(crate) use super::price::step_of;

/// The most steps that are made up for; a market that nobody looked at for longer has a gap.
const STEPS_MAX: i64 = 20_000;

/// Books what has happened by now: orders that reached the market, resting ones that it crossed, endings.
pub(crate) fn advance(ledger: &mut Ledger, world: &World, now: Millis) -> io::Result<()> {
    let last = price::step_of(now);
    let first = (ledger.booked_until_step() + 1).max(last - STEPS_MAX);
    let moves = !ledger.settings().price_volatility.is_zero();
    for step in first..=last {
        if ledger.book().live().next().is_none() {
            break;
        }
        let at_ms = (step * price::STEP_MS).min(now);
        settle(ledger, world, at_ms)?;
        let crossed = cross(ledger, world, at_ms)?;
        // In a still market the next step is like this one, until there is something new to cross.
        let nothing_ahead = ledger.book().live().all(|order| order.entered);
        if !crossed && !moves && nothing_ahead {
            break;
        }
    }
    ledger.set_booked_until_step(last);
    settle(ledger, world, now)
}

/// Books orders that reach the market, and endings whose time has come.
fn settle(ledger: &mut Ledger, world: &World, now: Millis) -> io::Result<()> {
    let due: Vec<u64> = ledger.book().live().filter(|order| is_due(order, now)).map(|order| order.id).collect();
    for id in due {
        let Some(order) = ledger.book().order(id).cloned() else { continue };
        let entered = world.symbol(&order.symbol).filter(|_| !order.entered && order.entered_at_ms <= now);
        let ended = order.end.as_ref().map(|end| end.at_ms);
        let step = match (entered, ended) {
            // Ended before it got there: it never does.
            (Some(symbol), ended) if ended.is_none_or(|at_ms| at_ms > order.entered_at_ms) => {
                let at_ms = order.entered_at_ms;
                enter_late(ledger, world, symbol, order, at_ms)
            }
            (_, Some(at_ms)) => Step { order: Order { updated_at_ms: at_ms, ..order }, trades: Vec::new() },
            (_, None) => continue,
        };
        ledger.record(Event::Order(Box::new(step)))?;
    }
    Ok(())
}

fn is_due(order: &Order, now: Millis) -> bool {
    !order.entered && order.entered_at_ms <= now || order.end.as_ref().is_some_and(|end| end.at_ms <= now)
}

/// Fills resting orders that the market has crossed, at their own price. Says whether there were any.
fn cross(ledger: &mut Ledger, world: &World, at_ms: Millis) -> io::Result<bool> {
    let share = ledger.settings().fill_share;
    if share.is_zero() {
        return Ok(false);
    }
    let mids: Vec<(&Symbol, Decimal)> =
        world.symbols.iter().map(|symbol| (symbol, mid(ledger, symbol, at_ms))).collect();
    let crossed = |order: &Order| {
        let (symbol, mid) = *mids.iter().find(|(symbol, _)| symbol.name == order.symbol)?;
        is_crossed(symbol, mid, order, at_ms).then_some((order.id, symbol, mid))
    };
    let crossed: Vec<(u64, &Symbol, Decimal)> = ledger.book().live().filter_map(crossed).collect();
    for (id, symbol, mid) in &crossed {
        let Some(order) = ledger.book().order(*id).cloned() else { continue };
        let portion = symbol.whole_steps(order.qty * share).max(symbol.step);
        let qty = depth::within_reach(symbol, *mid, &order).min(portion);
        let at_own_price = Fill { price: order.price, qty };
        let step = fill(ledger, world, order, at_own_price, None, at_ms);
        ledger.record(Event::Order(Box::new(step)))?;
    }
    Ok(!crossed.is_empty())
}

/// Whether the market has come to an order since the order came to the market. What it left untaken on its arrival does
/// not count: a price that stands still fills nothing.
fn is_crossed(symbol: &Symbol, mid: Decimal, order: &Order, at_ms: Millis) -> bool {
    let came_nearer = match order.side {
        Side::Buy => mid < order.entered_mid,
        Side::Sell => mid > order.entered_mid,
    };
    came_nearer && at_ms >= order.entered_at_ms && order.state(at_ms).is_open() && depth::crosses(symbol, mid, order)
}

/// The middle price of a symbol at a moment.
pub(crate) fn mid(ledger: &Ledger, symbol: &Symbol, at_ms: Millis) -> Decimal {
    price::mid(symbol, ledger.settings(), at_ms)
}

/// What a taker of a side finds at a moment, best price first.
pub(crate) fn levels(
    ledger: &Ledger,
    symbol: &Symbol,
    taker: Side,
    at_ms: Millis,
) -> impl Iterator<Item = Level> + use<> {
    depth::levels(symbol, mid(ledger, symbol, at_ms), taker)
}

/// Whether an order would take something if it came to the market at a moment.
pub(crate) fn would_take(ledger: &Ledger, symbol: &Symbol, order: &Order, at_ms: Millis) -> bool {
    depth::crosses(symbol, mid(ledger, symbol, at_ms), order)
}

/// What an order would take if it came to the market at a moment.
pub(crate) fn preview(ledger: &Ledger, symbol: &Symbol, order: &Order, at_ms: Millis) -> Vec<Fill> {
    depth::take(symbol, mid(ledger, symbol, at_ms), order)
}

/// What an order needs of the asset it spends to come to the market at a moment.
pub(crate) fn needed(ledger: &Ledger, symbol: &Symbol, order: &Order, at_ms: Millis) -> Decimal {
    let taken = || preview(ledger, symbol, order, at_ms).into_iter();
    match (order.side, order.kind) {
        (Side::Sell, _) if order.quote_wanted.is_zero() => order.qty,
        (Side::Sell, _) => taken().map(|fill| fill.qty).sum(),
        (Side::Buy, OrderType::Market) => taken().map(Fill::quote_qty).sum(),
        (Side::Buy, _) => cost(order.price, order.qty),
    }
}

/// Lets an order into the market that was taken earlier, unless the price has run away from its promise meanwhile.
fn enter_late(ledger: &Ledger, world: &World, symbol: &Symbol, mut order: Order, at_ms: Millis) -> Step {
    let covered = ledger.spendable(order.spends(), at_ms) + order.promise;
    if needed(ledger, symbol, &order, at_ms) <= covered {
        return enter(ledger, world, symbol, order, at_ms);
    }
    order.entered = true;
    order.updated_at_ms = at_ms;
    order.end = Some(OrderEnd { at_ms, state: OrderState::Rejected, new_client_id: None });
    Step { order, trades: Vec::new() }
}

/// Lets an order into the market. What it does not take then rests or expires, as its type says.
pub(crate) fn enter(ledger: &Ledger, world: &World, symbol: &Symbol, mut order: Order, at_ms: Millis) -> Step {
    order.entered = true;
    order.entered_mid = mid(ledger, symbol, at_ms);
    order.updated_at_ms = at_ms;
    let mut trades = Vec::new();
    if order.kind == OrderType::LimitMaker {
        if would_take(ledger, symbol, &order, at_ms) {
            order.end = Some(OrderEnd { at_ms, state: OrderState::Rejected, new_client_id: None });
        }
        return Step { order, trades };
    }
    for fill in preview(ledger, symbol, &order, at_ms) {
        let fee = fees::fee(ledger, world, &order, fill, false, &trades);
        let trade = trade(ledger, &mut order, fill, fee, false, trades.len());
        trades.push(trade);
    }
    if order.quote_wanted > Decimal::ZERO {
        order.qty = order.executed;
    }
    if !order.rests() && !order.is_over() {
        order.end = Some(OrderEnd { at_ms, state: OrderState::Expired, new_client_id: None });
    }
    Step { order, trades }
}

/// A fill of a resting order, at a moment. Without a fee of its own, the resting side's is taken.
pub(crate) fn fill(
    ledger: &Ledger,
    world: &World,
    mut order: Order,
    fill: Fill,
    fee: Option<(Decimal, String)>,
    at_ms: Millis,
) -> Step {
    order.updated_at_ms = at_ms;
    let fee = fee.unwrap_or_else(|| fees::fee(ledger, world, &order, fill, true, &[]));
    let trade = trade(ledger, &mut order, fill, fee, true, 0);
    Step { order, trades: vec![trade] }
}

/// Adds a fill to an order and makes its trade; `nth` counts the trades of one step.
fn trade(
    ledger: &Ledger,
    order: &mut Order,
    fill: Fill,
    (fee, fee_asset): (Decimal, String),
    maker: bool,
    nth: usize,
) -> Trade {
    let quote_qty = fill.quote_qty();
    order.executed += fill.qty;
    order.executed_quote += quote_qty;
    let at_ms = order.updated_at_ms;
    Trade {
        id: ledger.book().next_trade_id(&order.symbol) + nth as u64,
        order_id: order.id,
        symbol: order.symbol.clone(),
        side: order.side,
        price: fill.price,
        qty: fill.qty,
        quote_qty,
        fee,
        fee_asset,
        maker,
        at_ms,
        visible_from_ms: at_ms + order.trade_delay_ms,
        time_ms: at_ms + order.clock_offset_ms,
    }
}
