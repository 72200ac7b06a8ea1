//! The synthetic depth around a middle price, and what an order finds in it.

use rust_decimal::{Decimal, RoundingStrategy};

use super::{Fill, Order, OrderType, Side, Symbol, TimeInForce};

/// Levels on each side.
const LEVELS: u32 = 100;
/// The distance from the middle to the first level, and between levels: a share of the price, as parts of 10000.
const GAP_BASIS_POINTS: i64 = 1;

/// A price and what can be traded there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Level {
    pub(crate) price: Decimal,
    pub(crate) qty: Decimal,
}

/// What a taker of a side finds, best price first.
pub(crate) fn levels(symbol: &Symbol, mid: Decimal, taker: Side) -> impl Iterator<Item = Level> + use<> {
    let tick = symbol.tick;
    let ticks = |price: Decimal, strategy| (price / tick).round_dp_with_strategy(0, strategy) * tick;
    let gap = ticks(mid * Decimal::new(GAP_BASIS_POINTS, 4), RoundingStrategy::AwayFromZero).max(tick);
    let (nearest, away) = match taker {
        Side::Buy => (ticks(mid, RoundingStrategy::AwayFromZero), gap),
        Side::Sell => (ticks(mid, RoundingStrategy::ToZero), -gap),
    };
    let qty = symbol.whole_steps(symbol.level_notional / mid).max(symbol.step);
    (1..=LEVELS)
        .map(move |level| Level { price: nearest + away * Decimal::from(level), qty })
        .take_while(move |level| level.price >= tick)
}

/// The best price a taker of a side finds.
pub(crate) fn best(symbol: &Symbol, mid: Decimal, taker: Side) -> Option<Decimal> {
    levels(symbol, mid, taker).next().map(|level| level.price)
}

/// Whether an order's limit reaches what the other side offers.
pub(crate) fn crosses(symbol: &Symbol, mid: Decimal, order: &Order) -> bool {
    best(symbol, mid, order.side).is_some_and(|price| within_limit(order, price))
}

/// How much of an order's remainder the other side offers within its limit.
pub(crate) fn within_reach(symbol: &Symbol, mid: Decimal, order: &Order) -> Decimal {
    let reached = levels(symbol, mid, order.side).take_while(|level| within_limit(order, level.price));
    reached.map(|level| level.qty).sum::<Decimal>().min(order.remaining())
}

/// What an order takes on arrival: the best prices first, up to its limit. All or nothing for fill-or-kill.
pub(crate) fn take(symbol: &Symbol, mid: Decimal, order: &Order) -> Vec<Fill> {
    let by_quote = order.quote_wanted > Decimal::ZERO;
    let (mut qty_left, mut quote_left) = (order.remaining(), order.quote_wanted);
    let mut fills = Vec::new();
    for level in levels(symbol, mid, order.side).take_while(|level| within_limit(order, level.price)) {
        let wanted = if by_quote { symbol.whole_steps(quote_left / level.price) } else { qty_left };
        let fill = Fill { price: level.price, qty: wanted.min(level.qty) };
        if fill.qty.is_zero() {
            break;
        }
        qty_left -= fill.qty;
        quote_left -= fill.quote_qty();
        fills.push(fill);
    }
    let short = order.time_in_force == TimeInForce::Fok && !qty_left.is_zero();
    if short { Vec::new() } else { fills }
}

fn within_limit(order: &Order, price: Decimal) -> bool {
    match (order.kind, order.side) {
        (OrderType::Market, _) => true,
        (_, Side::Buy) => price <= order.price,
        (_, Side::Sell) => price >= order.price,
    }
}

#[cfg(test)]
mod tests {
    use super::{LEVELS, best, levels};
    use crate::spot::{Side, load};

    #[test]
    fn both_sides_keep_ticks_and_their_distance() {
        for symbol in load().unwrap() {
            let mid = symbol.opening_price + symbol.tick / rust_decimal::Decimal::TWO;
            for side in [Side::Buy, Side::Sell] {
                let all: Vec<_> = levels(&symbol, mid, side).collect();
                assert_eq!(all.len(), LEVELS as usize, "{}", symbol.name);
                for level in &all {
                    assert!((level.price % symbol.tick).is_zero() && (level.qty % symbol.step).is_zero());
                    assert_eq!(level.price > mid, side == Side::Buy);
                }
            }
            assert!(best(&symbol, mid, Side::Buy) > best(&symbol, mid, Side::Sell));
        }
    }

    #[test]
    fn a_price_near_zero_has_no_bids_below_a_tick() {
        let symbol = load().unwrap().remove(0);
        assert_eq!(levels(&symbol, symbol.tick, Side::Sell).count(), 0);
    }
}
