//! Pure market making: orders on both sides of the middle of the book, in layers, that follow it.
//!
//! [`quote`] says what is to be done now, and nothing but what it is shown decides that:
//!
//! - Wanted are, for each layer from the inside out, a buy and a sell at mid ∓ (spread / 2 + layer × step), rounded away
//!   from the mid to the venue's tick. Levels that fall on one price are one level.
//! - An open order within the tolerance of a wanted level of its side is kept for it, the nearest first and one for each
//!   level; every other is cancelled. So is one on the wrong side of the mid, whatever the tolerance. Hence a buy is below
//!   and a sell above the mid: none takes from the book, and none meets one of our own.
//! - A level without an order is placed with the order size, rounded down to the venue's lot; with less, when there is less
//!   money or room below `max_base`; not at all, when the venue's filters would refuse that.
//! - An order that is being cancelled is there until it isn't. While one of a side is, what it ties up is not counted on: a
//!   level that it leaves no full size for, or that it could trade with, waits for a later call, and so do those further out.
//! - Without a book, or with a crossed one, nothing is wished, and what is open stays: there is no mid to judge it by.
//!
//! Called again once its wishes are fulfilled, and the book and the balances are the same but for them, it wishes for what
//! waited for a cancel, if anything did, and then for nothing.

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Amount, BusinessId, Fields, Filters, InvalidInput, Side};

/// How a strategy makes its market. A basis point (bps) is a hundredth of a percent of the mid.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parameters {
    /// How far the innermost buy and sell are from each other, in bps.
    pub spread_bps: u64,
    /// What each order is for, in the base.
    pub order_size: Amount,
    /// How many orders on each side.
    pub layers: u64,
    /// How far a layer is from the next, in bps.
    pub layer_step_bps: u64,
    /// How far from where it should be an order is left alone, in bps of the price there.
    pub refresh_tolerance_bps: u64,
    /// Nothing is bought that could bring the base held, with all that is open to buy, above this.
    pub max_base: Option<Amount>,
}

/// One, in bps.
const ONE: u64 = 10_000;
const LAYERS_MAX: u64 = 10;

impl Parameters {
    /// Reads a strategy's `parameters`.
    ///
    /// # Errors
    /// Names the first field that is wrong, missing or unknown, and what was expected.
    pub fn read(input: Value) -> Result<Self, InvalidInput> {
        Self::read_fields(Fields::of(input)?)
    }

    /// The same, from a part of a larger input.
    ///
    /// # Errors
    /// As [`Parameters::read`].
    pub fn read_fields(mut fields: Fields) -> Result<Self, InvalidInput> {
        let parameters = Self {
            spread_bps: fields.number("spread_bps", 1..=ONE)?,
            order_size: fields.amount("order_size")?,
            layers: fields.number("layers", 1..=LAYERS_MAX)?,
            layer_step_bps: fields.number("layer_step_bps", 1..=ONE)?,
            refresh_tolerance_bps: fields.number("refresh_tolerance_bps", 0..=ONE)?,
            max_base: fields.optional_text("max_base")?,
        };
        fields.finish()?;
        if parameters.away(parameters.layers - 1) >= 2 * ONE {
            let expected = "so little that spread / 2 + (layers - 1) × step is below 10000 bps";
            return Err(InvalidInput::new("layer_step_bps", expected));
        }
        Ok(parameters)
    }

    /// How far a layer is from the mid, in half bps.
    fn away(&self, layer: u64) -> u64 {
        self.spread_bps + 2 * layer * self.layer_step_bps
    }
}

/// What a decision is made from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    /// The highest price that somebody buys at, quote per base.
    pub best_bid: Option<Amount>,
    /// The lowest price that somebody sells at, quote per base.
    pub best_ask: Option<Amount>,
    /// The strategy's orders that may still trade, all of them.
    pub open: Vec<OpenOrder>,
    /// What of the base is free, beside what open orders tie up.
    pub available_base: Decimal,
    /// What of the quote is free.
    pub available_quote: Decimal,
}

/// An order that may still trade.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenOrder {
    /// The intent that placed it.
    pub id: BusinessId,
    /// Which way it trades.
    pub side: Side,
    /// Quote per base.
    pub price: Amount,
    /// What is not traded yet, in the base.
    pub remaining: Amount,
}

/// Something to be done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wish {
    /// Cancel an open order.
    Cancel {
        /// The intent that placed it.
        id: BusinessId,
    },
    /// Place an order that is refused rather than trading at once.
    Place {
        /// Which way.
        side: Side,
        /// Quote per base.
        price: Amount,
        /// In the base.
        quantity: Amount,
    },
}

/// What is to be done now, cancels first.
pub fn quote(parameters: &Parameters, filters: &Filters, view: &View) -> Vec<Wish> {
    let Some(twice_mid) = twice_mid(view) else { return Vec::new() };
    let desk = Desk { parameters, filters, view, twice_mid };
    let [buys, sells] = Side::ALL.map(|side| desk.side(side));
    [buys.0, sells.0, buys.1, sells.1].concat()
}

/// Best bid and best ask together, in atoms.
fn twice_mid(view: &View) -> Option<u128> {
    let (bid, ask) = view.best_bid.zip(view.best_ask)?;
    (bid < ask).then_some(bid.atoms() + ask.atoms())
}

struct Desk<'a> {
    parameters: &'a Parameters,
    filters: &'a Filters,
    view: &'a View,
    twice_mid: u128,
}

impl<'a> Desk<'a> {
    /// What to cancel and what to place on a side.
    fn side(&self, side: Side) -> (Vec<Wish>, Vec<Wish>) {
        let levels = self.levels(side);
        let mut room = self.room(side);
        let kept: Vec<_> = self.nearest(side, &levels).into_iter().map(|order| within(order, &mut room)).collect();
        let cancelled: Vec<_> = self.open(side).filter(|order| !kept.contains(&Some(*order))).collect();
        // What is being cancelled may trade until it is.
        room = room.saturating_sub(sum(cancelled.iter().copied()));
        let free = levels.into_iter().zip(kept).filter_map(|(price, order)| order.is_none().then_some(price));
        let places = self.places(side, free, room, !cancelled.is_empty());
        (cancelled.into_iter().map(|order| Wish::Cancel { id: order.id.clone() }).collect(), places)
    }

    fn open(&self, side: Side) -> impl Iterator<Item = &'a OpenOrder> + use<'a> {
        self.view.open.iter().filter(move |order| order.side == side)
    }

    /// The prices that the side should have an order at, from the inside out.
    fn levels(&self, side: Side) -> Vec<Amount> {
        let layers = (0..self.parameters.layers).map(|layer| u128::from(self.parameters.away(layer)));
        let one = u128::from(2 * ONE);
        let mut levels: Vec<_> = layers
            .filter_map(|away| match side {
                Side::Buy => self.filters.price_down(part(self.twice_mid, one.checked_sub(away)?, 2 * one).0),
                Side::Sell => {
                    let (whole, rest) = part(self.twice_mid, one + away, 2 * one);
                    self.filters.price_up(whole + u128::from(rest))
                }
            })
            .collect();
        levels.dedup();
        levels
    }

    /// For each level the order that may stand for it: of all that are near enough the nearest, each once. Those that were
    /// placed at their levels are nearest to these, so that they leave the others' choice as it was.
    fn nearest(&self, side: Side, levels: &[Amount]) -> Vec<Option<&'a OpenOrder>> {
        let mut candidates: Vec<_> = self.open(side).filter(|order| self.is_on_its_side(order)).map(Some).collect();
        let mut pairs = Vec::new();
        for (level, price) in levels.iter().enumerate() {
            let tolerance = part(price.atoms(), self.parameters.refresh_tolerance_bps.into(), ONE.into()).0;
            for (place, order) in candidates.iter().flatten().enumerate() {
                let distance = order.price.atoms().abs_diff(price.atoms());
                if distance <= tolerance {
                    pairs.push((distance, level, place));
                }
            }
        }
        pairs.sort_unstable();
        let mut nearest = vec![None; levels.len()];
        for (_, level, place) in pairs {
            if nearest[level].is_none() {
                nearest[level] = candidates[place].take();
            }
        }
        nearest
    }

    fn is_on_its_side(&self, order: &OpenOrder) -> bool {
        let twice = 2 * order.price.atoms();
        match order.side {
            Side::Buy => twice < self.twice_mid,
            Side::Sell => twice > self.twice_mid,
        }
    }

    /// How much of the base may still be bought, with what is open to buy; what is open to sell is still held.
    fn room(&self, side: Side) -> u128 {
        match (side, self.parameters.max_base) {
            (Side::Buy, Some(max)) => {
                let held = atoms(self.view.available_base).saturating_add(sum(self.open(Side::Sell)));
                max.atoms().saturating_sub(held)
            }
            _ => u128::MAX,
        }
    }

    /// The orders for the levels that have none.
    fn places(&self, side: Side, levels: impl Iterator<Item = Amount>, mut room: u128, cancelling: bool) -> Vec<Wish> {
        let mut money = atoms(match side {
            Side::Buy => self.view.available_quote,
            Side::Sell => self.view.available_base,
        });
        let Some(full) = self.filters.round_quantity_down(self.parameters.order_size) else { return Vec::new() };
        let mut places = Vec::new();
        for price in levels {
            let affordable = self.affordable(side, price, full.atoms().min(room), money);
            if self.meets_own(side, price) || cancelling && affordable != Some(full) {
                break;
            }
            let Some(quantity) = affordable.filter(|quantity| self.filters.check(price, *quantity).is_ok()) else {
                continue;
            };
            money = money.saturating_sub(self.filters.needs(side, price, quantity).unwrap_or(money));
            room -= quantity.atoms();
            places.push(Wish::Place { side, price, quantity });
        }
        places
    }

    /// The most lots, up to a limit in atoms, that the money is enough for.
    fn affordable(&self, side: Side, price: Amount, limit: u128, money: u128) -> Option<Amount> {
        let lot = self.filters.lot();
        let is_enough = |lots: u128| {
            let needs = Amount::from_atoms(lots * lot).and_then(|quantity| self.filters.needs(side, price, quantity));
            needs.is_some_and(|needs| needs <= money)
        };
        let (mut enough, mut beyond) = (0, limit / lot + 1);
        if is_enough(beyond - 1) {
            enough = beyond - 1;
        }
        while beyond - enough > 1 {
            let lots = enough.midpoint(beyond);
            *(if is_enough(lots) { &mut enough } else { &mut beyond }) = lots;
        }
        Amount::from_atoms(enough * lot)
    }

    /// Whether an order of ours is there that one at this price would trade with; it can only be one that is being cancelled.
    fn meets_own(&self, side: Side, price: Amount) -> bool {
        match side {
            Side::Buy => self.open(Side::Sell).any(|sell| sell.price <= price),
            Side::Sell => self.open(Side::Buy).any(|buy| buy.price >= price),
        }
    }
}

/// Keeps an order only if there is room for what it may still buy.
fn within<'a>(order: Option<&'a OpenOrder>, room: &mut u128) -> Option<&'a OpenOrder> {
    let order = order?;
    *room = room.checked_sub(order.remaining.atoms())?;
    Some(order)
}

fn sum<'a>(orders: impl Iterator<Item = &'a OpenOrder>) -> u128 {
    orders.fold(0, |sum, order| sum.saturating_add(order.remaining.atoms()))
}

/// A balance in atoms. Below zero is nothing, and what can't be counted is more than any order needs.
fn atoms(balance: Decimal) -> u128 {
    if balance.is_sign_negative() {
        return 0;
    }
    let balance = balance.trunc_with_scale(18);
    balance.mantissa().unsigned_abs().saturating_mul(10_u128.pow(18 - balance.scale()))
}

/// `value × share / whole` in whole units, and whether there is a rest. For a share of at most the whole, whose square has
/// to fit.
fn part(value: u128, share: u128, whole: u128) -> (u128, bool) {
    let (units, rest) = (value / whole, value % whole * share);
    (units * share + rest / whole, rest % whole != 0)
}

#[cfg(test)]
mod examples;
#[cfg(test)]
mod properties;
