//! The symbols of the paper exchange and their filters: one table, read at start.
//!
//! Filters are those of "Filters" (<https://developers.binance.com/docs/binance-spot-api-docs/filters>); ticks, steps
//! and minimal notionals are the real exchange's, prices are round numbers.

use anyhow::Result;
use rust_decimal::Decimal;

use crate::world::amount;

/// One line of the table.
struct Line {
    name: &'static str,
    base: &'static str,
    quote: &'static str,
    /// The middle price until it is set.
    price: &'static str,
    max_price: &'static str,
    tick: &'static str,
    step: &'static str,
    max_qty: &'static str,
    min_notional: &'static str,
    max_notional: &'static str,
    /// What one level of the synthetic depth is worth, in the quote asset.
    level: &'static str,
}

#[rustfmt::skip]
const SYMBOLS: &[Line] = &[
    Line { name: "BTCUSDT", base: "BTC", quote: "USDT", price: "100000", max_price: "1000000", tick: "0.01",    step: "0.00001", max_qty: "9000",   min_notional: "5",      max_notional: "9000000", level: "20000" },
    Line { name: "ETHUSDT", base: "ETH", quote: "USDT", price: "4000",   max_price: "1000000", tick: "0.01",    step: "0.0001",  max_qty: "9000",   min_notional: "5",      max_notional: "9000000", level: "20000" },
    Line { name: "ETHBTC",  base: "ETH", quote: "BTC",  price: "0.04",   max_price: "922327",  tick: "0.00001", step: "0.0001",  max_qty: "100000", min_notional: "0.0001", max_notional: "9000000", level: "0.2" },
    Line { name: "BNBUSDT", base: "BNB", quote: "USDT", price: "800",    max_price: "100000",  tick: "0.01",    step: "0.001",   max_qty: "900000", min_notional: "5",      max_notional: "9000000", level: "20000" },
];

/// What is traded against what, and in which units.
pub(crate) struct Symbol {
    pub(crate) name: &'static str,
    pub(crate) base: &'static str,
    pub(crate) quote: &'static str,
    /// The middle price until it is set.
    pub(crate) opening_price: Decimal,
    /// `PRICE_FILTER`: `tickSize`, which is also `minPrice`.
    pub(crate) tick: Decimal,
    pub(crate) max_price: Decimal,
    /// `LOT_SIZE`: `stepSize`, which is also `minQty`.
    pub(crate) step: Decimal,
    pub(crate) max_qty: Decimal,
    /// `NOTIONAL`: the least and the most that price times quantity may be.
    pub(crate) min_notional: Decimal,
    pub(crate) max_notional: Decimal,
    /// What one level of the synthetic depth is worth, in the quote asset.
    pub(crate) level_notional: Decimal,
}

/// Reads the table; an error is a mistake in the table itself.
pub(crate) fn load() -> Result<Vec<Symbol>> {
    SYMBOLS.iter().map(Symbol::read).collect()
}

impl Symbol {
    fn read(line: &Line) -> Result<Self> {
        Ok(Self {
            name: line.name,
            base: line.base,
            quote: line.quote,
            opening_price: amount(line.price)?,
            tick: amount(line.tick)?,
            max_price: amount(line.max_price)?,
            step: amount(line.step)?,
            max_qty: amount(line.max_qty)?,
            min_notional: amount(line.min_notional)?,
            max_notional: amount(line.max_notional)?,
            level_notional: amount(line.level)?,
        })
    }

    /// Cuts a quantity down to whole steps.
    pub(crate) fn whole_steps(&self, qty: Decimal) -> Decimal {
        (qty / self.step).floor() * self.step
    }
}

#[cfg(test)]
mod tests {
    use super::load;
    use crate::world::World;

    #[test]
    fn symbols_trade_coins_of_the_world_in_whole_ticks() {
        let world = World::load().unwrap();
        for symbol in load().unwrap() {
            assert_eq!(symbol.name, format!("{}{}", symbol.base, symbol.quote));
            assert!(world.coin(symbol.base).is_some() && world.coin(symbol.quote).is_some(), "{}", symbol.name);
            assert!((symbol.opening_price % symbol.tick).is_zero(), "{}", symbol.name);
            assert!(symbol.step < symbol.whole_steps(symbol.level_notional / symbol.opening_price), "{}", symbol.name);
        }
    }
}
