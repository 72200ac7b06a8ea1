//! What happens to orders: they enter the market, take what they find, rest, are filled and end.

use std::io;

use rust_decimal::Decimal;

use super::{Fill, Order, OrderEnd, OrderState, OrderType, Step, Symbol, Trade, depth, fees, price};
use crate::clock::Millis;
use crate::journal::Event;
use crate::ledger::Ledger;
use crate::world::World;

pub(crate) use super::order::cost;

/// Books what is due: orders that reach the market by now, and endings whose time has come.
pub(crate) fn advance(ledger: &mut Ledger, world: &World, now: Millis) -> io::Result<()> {
    let due: Vec<u64> = ledger.book().live().filter(|order| is_due(order, now)).map(|order| order.id).collect();
    for id in due {
        let Some(order) = ledger.book().order(id).cloned() else { continue };
        let entered = world.symbol(&order.symbol).filter(|_| !order.entered && order.entered_at_ms <= now);
        let ended = order.end.as_ref().map(|end| end.at_ms);
        let step = match (entered, ended) {
            // Ended before it got there: it never does.
            (Some(symbol), ended) if ended.is_none_or(|at_ms| at_ms > order.entered_at_ms) => {
                let at_ms = order.entered_at_ms;
                enter(ledger, world, symbol, order, at_ms)
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

/// The middle price of a symbol.
pub(crate) fn mid(ledger: &Ledger, symbol: &Symbol) -> Decimal {
    price::mid(symbol, ledger.settings())
}

/// Whether an order would take something if it came to the market now.
pub(crate) fn would_take(ledger: &Ledger, symbol: &Symbol, order: &Order) -> bool {
    depth::crosses(symbol, mid(ledger, symbol), order)
}

/// What an order would take if it came to the market now.
pub(crate) fn preview(ledger: &Ledger, symbol: &Symbol, order: &Order) -> Vec<Fill> {
    depth::take(symbol, mid(ledger, symbol), order)
}

/// Lets an order into the market. What it does not take then rests or expires, as its type says.
pub(crate) fn enter(ledger: &Ledger, world: &World, symbol: &Symbol, mut order: Order, at_ms: Millis) -> Step {
    order.entered = true;
    order.updated_at_ms = at_ms;
    let mut trades = Vec::new();
    if order.kind == OrderType::LimitMaker {
        if would_take(ledger, symbol, &order) {
            order.end = Some(OrderEnd { at_ms, state: OrderState::Rejected });
        }
        return Step { order, trades };
    }
    for fill in preview(ledger, symbol, &order) {
        let fee = fees::fee(ledger, world, &order, fill, false);
        let trade = trade(ledger, &mut order, fill, fee, false, trades.len());
        trades.push(trade);
    }
    if order.quote_wanted > Decimal::ZERO {
        order.qty = order.executed;
    }
    if !order.rests() && !order.is_over() {
        order.end = Some(OrderEnd { at_ms, state: OrderState::Expired });
    }
    Step { order, trades }
}

/// A fill somebody asked for, at a moment. Without a fee of its own, the resting side's is taken.
pub(crate) fn fill(
    ledger: &Ledger,
    world: &World,
    mut order: Order,
    fill: Fill,
    fee: Option<(Decimal, String)>,
    at_ms: Millis,
) -> Step {
    order.updated_at_ms = at_ms;
    let fee = fee.unwrap_or_else(|| fees::fee(ledger, world, &order, fill, true));
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
