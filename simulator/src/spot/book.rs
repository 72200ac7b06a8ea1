//! All orders and trades of the account, and what they did to its balances.

use std::collections::{BTreeMap, BTreeSet};

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use super::{Order, OrderState, Side, Trade};
use crate::clock::Millis;

/// A change that is made as a whole: an order as it is now, and the trades it made on the way.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Step {
    pub(crate) order: Order,
    pub(crate) trades: Vec<Trade>,
}

/// Orders and trades, oldest first.
#[derive(Default)]
pub(crate) struct Book {
    orders: Vec<Order>,
    /// Places of the orders something may still happen to.
    live: BTreeSet<usize>,
    trades: Vec<Trade>,
    /// The last trade's id, by symbol.
    last_trade: BTreeMap<String, u64>,
    /// What trades and their fees brought and took, by asset.
    moved: BTreeMap<String, Decimal>,
}

impl Book {
    /// Makes a change.
    pub(crate) fn apply(&mut self, step: Step) {
        let Step { order, trades } = step;
        for trade in &trades {
            self.post(&order, trade);
        }
        self.trades.extend(trades);
        let place = self.place(order.id).unwrap_or(self.orders.len());
        if order.is_over() {
            self.live.remove(&place);
        } else {
            self.live.insert(place);
        }
        match self.orders.get_mut(place) {
            Some(known) => *known = order,
            None => self.orders.push(order),
        }
    }

    fn post(&mut self, order: &Order, trade: &Trade) {
        let (base, quote) = match trade.side {
            Side::Buy => (trade.qty, -trade.quote_qty),
            Side::Sell => (-trade.qty, trade.quote_qty),
        };
        for (asset, delta) in [(&order.base, base), (&order.quote, quote), (&trade.fee_asset, -trade.fee)] {
            *self.moved.entry(asset.clone()).or_default() += delta;
        }
        self.last_trade.insert(trade.symbol.clone(), trade.id);
    }

    pub(crate) fn next_order_id(&self) -> u64 {
        self.orders.last().map_or(1, |last| last.id + 1)
    }

    pub(crate) fn next_trade_id(&self, symbol: &str) -> u64 {
        self.last_trade.get(symbol).map_or(1, |last| last + 1)
    }

    /// All orders, oldest first, also those that are hidden or not in the market yet.
    pub(crate) fn orders(&self) -> &[Order] {
        &self.orders
    }

    pub(crate) fn order(&self, id: u64) -> Option<&Order> {
        self.orders.get(self.place(id)?)
    }

    /// The newest order that goes by a client's id. Only open orders have ids of their own, so there may be older ones.
    pub(crate) fn newest_known_as(&self, symbol: &str, client_id: &str, now: Millis) -> Option<&Order> {
        self.orders.iter().rev().find(|order| order.symbol == symbol && order.known_as(now) == client_id)
    }

    /// Orders something may still happen to, oldest first.
    pub(crate) fn live(&self) -> impl Iterator<Item = &Order> {
        self.live.iter().filter_map(|place| self.orders.get(*place))
    }

    /// All trades, in the order they were made.
    pub(crate) fn trades(&self) -> &[Trade] {
        &self.trades
    }

    /// What trades brought of an asset, less what they took.
    pub(crate) fn moved(&self, asset: &str) -> Decimal {
        self.moved.get(asset).copied().unwrap_or_default()
    }

    /// What open orders hold of an asset.
    pub(crate) fn locked(&self, asset: &str, now: Millis) -> Decimal {
        self.live().filter(|order| order.spends() == asset).map(|order| order.locked(now)).sum()
    }

    /// What orders that are not in the market yet will need of an asset.
    pub(crate) fn promised(&self, asset: &str, now: Millis) -> Decimal {
        let waiting = self.live().filter(|order| order.state(now) == OrderState::Accepted);
        waiting.filter(|order| order.spends() == asset).map(|order| order.promise).sum()
    }

    fn place(&self, id: u64) -> Option<usize> {
        // Ids are counted without gaps.
        let place = usize::try_from(id.checked_sub(1)?).ok()?;
        (place < self.orders.len()).then_some(place)
    }
}
