//! Orders and their trades, by both books.

use std::collections::{BTreeMap, BTreeSet};

use rust_decimal::Decimal;
use serde_json::Value;
use sqlx::{FromRow, PgConnection};

use crate::Exchange;

/// An order of the books, with what is set aside for it.
#[derive(Debug, FromRow)]
struct Order {
    id: String,
    state: String,
    is_reserved: bool,
    /// Its strategy runs no more.
    is_stopped: bool,
}

const ORDERS: &str = "
    SELECT o.order_id AS id, o.state, coalesce(r.state = 'open', false) AS is_reserved,
           coalesce(s.status = 'stopped', false) AS is_stopped
      FROM orders AS o LEFT JOIN reservations AS r USING (reservation_id)
      LEFT JOIN strategies AS s ON s.strategy_key = o.strategy_key";
const INTENTS: &str = "SELECT intent_id || ' is ' || state FROM intents WHERE state IN ('waiting', 'claimed')";
const FILLS: &str = "SELECT order_id || ' ' || trade_id, base::text, quote::text FROM fills";

/// What was traded by each trade, in the base and in the quote.
type Trades = BTreeMap<String, (Decimal, Decimal)>;

/// The orders and trades of both books, the exchange's orders as of a moment before and a moment after the books'.
pub(super) struct Trading {
    orders: Vec<Order>,
    intents: Vec<String>,
    fills: Trades,
    /// How often each order is at the exchange.
    placed: BTreeMap<String, usize>,
    /// Those of them that could trade then, or have traded.
    of_account: BTreeSet<String>,
    /// Which could trade before and after the books were read.
    open: BTreeSet<String>,
    trades: Trades,
}

impl Trading {
    pub(super) async fn take(exchange: &Exchange, books: &mut PgConnection) -> Self {
        let before = exchange.all_orders().await;
        let mut placed = BTreeMap::new();
        for order in &before {
            *placed.entry(text(order, "client_id")).or_default() += 1;
        }
        let is_of_account = |order: &&Value| is_open(order) || !number(&text(order, "executed_qty")).is_zero();
        let of_account = before.iter().filter(is_of_account).map(|order| text(order, "client_id")).collect();
        let orders = sqlx::query_as(ORDERS).fetch_all(&mut *books).await.unwrap();
        let intents = sqlx::query_scalar(INTENTS).fetch_all(&mut *books).await.unwrap();
        let fills: Vec<(String, String, String)> = sqlx::query_as(FILLS).fetch_all(&mut *books).await.unwrap();
        let fills = fills.into_iter().map(|(id, base, quote)| (id, (number(&base), number(&quote)))).collect();
        let after = open_of(&exchange.all_orders().await);
        let open = open_of(&before).intersection(&after).cloned().collect();
        let trades = exchange.all_trades().await.iter().map(trade).collect();
        Self { orders, intents, fills, placed, of_account, open, trades }
    }

    /// The same for books that were put back: an order that they have forgotten, and that came to nothing, concerns nobody.
    pub(super) fn without_what_came_to_nothing(mut self) -> Self {
        let concerns = |id: &String| self.of_account.contains(id) || self.orders.iter().any(|order| order.id == *id);
        let placed = std::mem::take(&mut self.placed);
        self.placed = placed.into_iter().filter(|(id, _)| concerns(id)).collect();
        self
    }

    /// What must hold at every moment: nothing is at the exchange twice, nor behind the books' back; what may trade has its
    /// money set aside; and what is booked has been traded.
    pub(super) fn unsafe_now(&self) -> Vec<String> {
        let mut wrong = self.placed_twice();
        for id in self.placed.keys() {
            let known = self.order(id);
            if known.is_none_or(|order| matches!(order.state.as_str(), "void" | "abandoned")) {
                wrong.push(format!("the exchange has order {id}, the books {known:?}"));
            }
        }
        for id in &self.open {
            let known = self.order(id);
            if !known.is_some_and(|order| order.is_reserved) {
                wrong.push(format!("order {id} may trade, and nothing is set aside for it: {known:?}"));
            }
        }
        for (id, legs) in self.fills.iter().filter(|(id, legs)| self.trades.get(*id) != Some(legs)) {
            wrong.push(format!("fill {id} of {legs:?} is booked, the exchange has traded {:?}", self.trades.get(id)));
        }
        wrong
    }

    pub(super) fn placed_twice(&self) -> Vec<String> {
        let twice = self.placed.iter().filter(|(_, times)| **times > 1);
        twice.map(|(id, times)| format!("the exchange has order {id} {times} times")).collect()
    }

    /// What must hold besides once everything is over: every order is at the exchange or nothing is set aside for it, none
    /// is open of a strategy that is stopped, no intent is under way, and every trade is booked.
    pub(super) fn unsettled(&self) -> Vec<String> {
        let mut wrong = self.intents.clone();
        for order in &self.orders {
            let (is_placed, is_there) = (order.state == "placed", self.placed.contains_key(&order.id));
            let is_over = matches!(order.state.as_str(), "void" | "abandoned" | "ended");
            if order.is_reserved != is_placed || is_placed && !is_there || !is_placed && !is_over {
                wrong.push(format!("{order:?}, which the exchange {}", if is_there { "has" } else { "has not" }));
            }
            let is_open = self.open.contains(&order.id);
            let contradicts = if is_over { is_open } else { order.is_stopped };
            if contradicts {
                wrong.push(format!("{order:?}, which {} trade", if is_open { "may still" } else { "can't" }));
            }
        }
        for (id, legs) in self.trades.iter().filter(|(id, _)| !self.fills.contains_key(*id)) {
            wrong.push(format!("the exchange has traded {id} of {legs:?}, which is not booked"));
        }
        wrong
    }

    fn order(&self, id: &str) -> Option<&Order> {
        self.orders.iter().find(|order| order.id == *id)
    }
}

fn open_of(orders: &[Value]) -> BTreeSet<String> {
    orders.iter().filter(|order| is_open(order)).map(|order| text(order, "client_id")).collect()
}

fn is_open(order: &Value) -> bool {
    matches!(order["state"].as_str(), Some("NEW" | "PARTIALLY_FILLED"))
}

/// A trade of the exchange under the id that the books give it.
fn trade(trade: &Value) -> (String, (Decimal, Decimal)) {
    let id = format!("{} {}:{}", text(trade, "client_id"), text(trade, "symbol"), text(trade, "id"));
    (id, (number(&text(trade, "qty")), number(&text(trade, "quote_qty"))))
}

fn text(row: &Value, field: &str) -> String {
    row[field].as_str().unwrap_or_default().to_owned()
}

fn number(text: &str) -> Decimal {
    text.parse::<Decimal>().unwrap().normalize()
}
