//! Worlds in which the exchange holds what the books owe: the demo users' deposits, the house's own, and users whose
//! deposits both sides know.

use std::time::{SystemTime, UNIX_EPOCH};

use backstop::stack::demo_deposits;
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{Database, Exchange, operations::ADDRESS, trading::Strategy, world::World};

/// A moment that no test lives to see, ms since 1970.
const FAR_MS: u64 = 4_000_000_000_000;

/// Lets the exchange know the demo users' deposits, and declares the rest that it holds to be the house's own.
pub(crate) async fn agree(database: &Database, exchange: &mut Exchange) {
    let mut owner = database.owner().await;
    exchange.opens_with(demo_deposits(&mut owner).await.unwrap()).await;
    for (asset, held) in exchange.initial_balances() {
        let declare = sqlx::query(
            "INSERT INTO house_positions
             SELECT 'binance', $1, $2::numeric - coalesce((SELECT sum(available + locked) FROM accounts WHERE asset = $1), 0)
             ON CONFLICT (venue, asset) DO UPDATE SET amount = excluded.amount",
        );
        declare.bind(asset).bind(held.to_string()).execute(&mut owner).await.unwrap();
    }
}

impl World {
    /// A user of its own with one bitcoin and 10000 USDT that came in at the exchange, who may withdraw to [`ADDRESS`].
    pub async fn depositor(&self) -> String {
        let user = format!("u-{}", Uuid::now_v7());
        for (asset, amount) in [("BTC", "1"), ("USDT", "10000")] {
            self.comes_in(&user, asset, amount).await;
        }
        let allow = sqlx::query("SELECT destination_allow($1, 'BTC', 'BTC', $2, NULL, 'olga', 'ticket 1')");
        allow.bind(&user).bind(ADDRESS).execute(&mut self.database.owner().await).await.unwrap();
        user
    }

    /// A deposit of a user that both sides know. Returns its id.
    pub async fn comes_in(&self, user: &str, asset: &str, amount: &str) -> String {
        let id = Uuid::now_v7().simple().to_string();
        let credit = sqlx::query("SELECT deposit_credit('binance', $1, $2, $3, $4::numeric)");
        let credit = credit.bind(&id).bind(user).bind(asset).bind(amount);
        credit.execute(&mut self.database.worker().await).await.unwrap();
        self.exchange.deposit_as(&id, "", asset, amount, 1).await
    }

    /// A refund of a quarter bitcoin to a depositor.
    pub async fn true_refund(&self) -> Value {
        let user = self.depositor().await;
        json!({
            "refund_id": format!("r-{}", Uuid::now_v7()), "user_id": user, "asset_id": "BTC", "amount": "0.25",
            "destination": {"network": "BTC", "address": ADDRESS}, "reason": "order cancelled",
        })
    }

    /// A running strategy of a depositor.
    pub async fn true_strategy(&self) -> Strategy {
        self.strategy_of(&self.depositor().await).await
    }
}

impl Exchange {
    /// Makes a withdrawal that the balance pays for, in the words of the exchange's admin API.
    pub async fn withdraw(&self, withdrawal: Value) {
        self.admin(Method::POST, "/withdrawals", Some(withdrawal)).await;
    }

    /// Hides a withdrawal from lookups from now on, or shows it again.
    pub async fn hide_withdrawal(&self, id: &str, hidden: bool) {
        let body = json!({"state": "completed", "visible_from_ms": if hidden { FAR_MS } else { 0 }});
        self.admin(Method::POST, &format!("/withdrawals/{id}"), Some(body)).await;
    }

    /// Hides an order from lookups from now on, or shows it again.
    pub async fn hide_order(&self, client_id: &str, hidden: bool) {
        let id = self.order(client_id).await["id"].as_str().unwrap().to_owned();
        let body = json!({"from_ms": if hidden { FAR_MS } else { 0 }});
        self.admin(Method::POST, &format!("/orders/{id}/show"), Some(body)).await;
    }

    /// Cancels an order behind everybody's back, so long ago.
    pub async fn end_order(&self, client_id: &str, ago_ms: u64) {
        let id = self.order(client_id).await["id"].as_str().unwrap().to_owned();
        let body = json!({"state": "CANCELED", "at_ms": now_ms() - ago_ms});
        self.admin(Method::POST, &format!("/orders/{id}"), Some(body)).await;
    }
}

/// The machine's clock, ms since 1970.
pub fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    u64::try_from(now.as_millis()).unwrap()
}
