//! What the tests of the spot market have in common.

use serde_json::{Value, json};

use crate::client::{ACCOUNT, Params, Reply, Sim};

pub(crate) const ORDER: &str = "/api/v3/order";
pub(crate) const OPEN: &str = "/api/v3/openOrders";
pub(crate) const ALL: &str = "/api/v3/allOrders";
pub(crate) const TRADES: &str = "/api/v3/myTrades";
pub(crate) const INFO: &str = "/api/v3/exchangeInfo";

/// A bid for 0.5 BTC far below the market, where nothing fills it: it locks 45000 USDT.
pub(crate) fn bid(client_id: &str) -> Vec<(&str, &str)> {
    vec![
        ("symbol", "BTCUSDT"),
        ("side", "BUY"),
        ("type", "LIMIT"),
        ("timeInForce", "GTC"),
        ("quantity", "0.5"),
        ("price", "90000"),
        ("newClientOrderId", client_id),
    ]
}

/// The parameters with some replaced, some added, and those with an empty value left out.
pub(crate) fn with<'a>(params: &[(&'a str, &'a str)], changes: Params<'a>) -> Vec<(&'a str, &'a str)> {
    let kept = params.iter().filter(|(name, _)| changes.iter().all(|(changed, _)| changed != name));
    let added = changes.iter().filter(|(_, value)| !value.is_empty());
    kept.chain(added).copied().collect()
}

impl Sim {
    pub(crate) async fn place(&self, params: Params<'_>) -> Reply {
        self.try_call("POST", ORDER, params).await.unwrap()
    }

    /// Places an order that must be taken, and gives the answer.
    pub(crate) async fn placed(&self, params: Params<'_>) -> Value {
        let reply = self.place(params).await;
        assert_eq!(reply.status, 200, "{params:?}: {}", reply.body);
        reply.json()
    }

    pub(crate) async fn look(&self, client_id: &str) -> Reply {
        self.get(ORDER, &[("symbol", "BTCUSDT"), ("origClientOrderId", client_id)]).await
    }

    /// The order of a client's id, as its lookup shows it.
    pub(crate) async fn looked(&self, client_id: &str) -> Value {
        let reply = self.look(client_id).await;
        assert_eq!(reply.status, 200, "{}", reply.body);
        reply.json()
    }

    pub(crate) async fn cancel(&self, client_id: &str) -> Reply {
        self.try_call("DELETE", ORDER, &[("symbol", "BTCUSDT"), ("origClientOrderId", client_id)]).await.unwrap()
    }

    pub(crate) async fn list(&self, path: &str, params: Params<'_>) -> Vec<Value> {
        let reply = self.get(path, &with(&[("symbol", "BTCUSDT")], params)).await;
        assert_eq!(reply.status, 200, "{}", reply.body);
        reply.json().as_array().unwrap().clone()
    }

    /// Free and locked balance.
    pub(crate) async fn balance(&self, asset: &str) -> (String, String) {
        let account = self.get(ACCOUNT, &[]).await.json();
        let balances = account["balances"].as_array().unwrap();
        let balance = balances.iter().find(|balance| balance["asset"] == asset).unwrap();
        let part = |name: &str| balance[name].as_str().unwrap().trim_end_matches('0').trim_end_matches('.').to_owned();
        (part("free"), part("locked"))
    }

    /// What the exchange itself knows of the orders with a client's id.
    pub(crate) async fn orders(&self, client_id: &str) -> Vec<Value> {
        let orders = self.admin("GET", &format!("/orders?client_id={client_id}"), Value::Null).await;
        orders.as_array().unwrap().clone()
    }

    /// Fills the newest order with a client's id.
    pub(crate) async fn fill(&self, client_id: &str, fill: Value) -> Value {
        let id = self.orders(client_id).await.pop().unwrap()["id"].as_str().unwrap().to_owned();
        self.admin("POST", &format!("/orders/{id}/fill"), fill).await
    }

    /// Ends the newest order with a client's id.
    pub(crate) async fn end(&self, client_id: &str, state: &str) -> Value {
        let id = self.orders(client_id).await.pop().unwrap()["id"].as_str().unwrap().to_owned();
        self.admin("POST", &format!("/orders/{id}"), json!({"state": state})).await
    }
}
