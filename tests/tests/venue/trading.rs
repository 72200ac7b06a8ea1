//! What the tests of orders have in common: the watched client's calls, and the exchange's own view of them.

use backstop_activities::venue::{
    LookupFailed, NewOrder, OrderKind, OrderRecord, SendOutcome, Side, Spot, TimeInForce, TradeRecord,
};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::client::{Client, PATIENCE, now_ms};
use crate::exchange::Exchange;

pub(crate) const ORDER: &str = "/api/v3/order";
pub(crate) const OPEN_ORDERS: &str = "/api/v3/openOrders";
pub(crate) const TRADES: &str = "/api/v3/myTrades";
pub(crate) const SYMBOL: &str = "BTCUSDT";

/// A bid for 0.5 BTC far below the market of the paper exchange, where nothing fills it.
pub(crate) fn bid(client_id: &str) -> NewOrder<'_> {
    let kind = OrderKind::Limit { price: "90000", time_in_force: TimeInForce::GoodTillCancelled };
    NewOrder { client_id, symbol: SYMBOL, side: Side::Buy, kind, quantity: "0.5" }
}

/// An order that the paper exchange fills at once.
pub(crate) fn taker(client_id: &str) -> NewOrder<'_> {
    NewOrder { kind: OrderKind::Market, quantity: "0.3", ..bid(client_id) }
}

impl Client {
    pub(crate) async fn place(&self, order: NewOrder<'_>) -> SendOutcome {
        self.place_signed(order, now_ms()).await
    }

    pub(crate) async fn place_signed(&self, order: NewOrder<'_>, signed_at_ms: i64) -> SendOutcome {
        self.watched(timeout(PATIENCE * 2, self.binance.place(order, signed_at_ms)).await.unwrap())
    }

    pub(crate) async fn cancel(&self, client_id: &str) -> SendOutcome {
        self.watched(timeout(PATIENCE * 2, self.binance.cancel(SYMBOL, client_id, now_ms())).await.unwrap())
    }

    fn watched(&self, outcome: SendOutcome) -> SendOutcome {
        match &outcome {
            SendOutcome::Done(_) => {}
            SendOutcome::Rejected(reason) | SendOutcome::NotSent { reason, .. } | SendOutcome::Unknown(reason) => {
                self.discreet(reason);
            }
        }
        outcome
    }

    pub(crate) async fn order(&self, client_id: &str) -> Result<Option<OrderRecord>, LookupFailed> {
        self.looked_up(timeout(PATIENCE * 2, self.binance.order(SYMBOL, client_id, now_ms())).await.unwrap())
    }

    pub(crate) async fn order_by_id(&self, venue_order_id: &str) -> Result<Option<OrderRecord>, LookupFailed> {
        self.looked_up(timeout(PATIENCE * 2, self.binance.order_by_id(SYMBOL, venue_order_id, now_ms())).await.unwrap())
    }

    pub(crate) async fn open_orders(&self) -> Result<Vec<OrderRecord>, LookupFailed> {
        self.looked_up(timeout(PATIENCE * 2, self.binance.open_orders(SYMBOL, now_ms())).await.unwrap())
    }

    pub(crate) async fn trades(&self, venue_order_id: &str) -> Result<Vec<TradeRecord>, LookupFailed> {
        self.looked_up(timeout(PATIENCE * 4, self.binance.trades(SYMBOL, venue_order_id, now_ms())).await.unwrap())
    }

    fn looked_up<T>(&self, found: Result<T, LookupFailed>) -> Result<T, LookupFailed> {
        if let Err(failed) = &found {
            self.discreet(&failed.reason);
        }
        found
    }
}

impl Exchange {
    /// The next placing of an order meets this fault.
    pub(crate) async fn fault_on_place(&self, mut fault: Value) -> String {
        fault["method"] = "POST".into();
        self.fault(ORDER, fault).await
    }

    /// Every order it really has under a client id.
    pub(crate) async fn orders(&self, client_id: &str) -> Vec<Value> {
        let orders = self.admin(Method::GET, &format!("/orders?client_id={client_id}"), Value::Null).await;
        orders.as_array().unwrap().clone()
    }

    /// Fills the newest order under a client id.
    pub(crate) async fn fill(&self, client_id: &str, fill: Value) {
        let id = self.newest(client_id).await;
        self.admin(Method::POST, &format!("/orders/{id}/fill"), fill).await;
    }

    /// Ends the newest order under a client id.
    pub(crate) async fn end(&self, client_id: &str, state: &str) {
        let id = self.newest(client_id).await;
        self.admin(Method::POST, &format!("/orders/{id}"), json!({"state": state})).await;
    }

    pub(crate) async fn newest(&self, client_id: &str) -> String {
        self.orders(client_id).await.pop().unwrap()["id"].as_str().unwrap().to_owned()
    }
}

#[track_caller]
pub(crate) fn done(outcome: SendOutcome) -> String {
    let SendOutcome::Done(id) = outcome else { panic!("not done: {outcome:?}") };
    id
}
