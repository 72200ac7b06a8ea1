//! Pools of rewards, and rewards out of them.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::world::World;

impl World {
    /// A pool of its own with so many bitcoin: a deposit of nobody's that an operator has given it.
    pub async fn pool(&self, amount: &str) -> String {
        let pool = format!("p-{}", Uuid::now_v7());
        let mut owner = self.database.owner().await;
        let credit = sqlx::query("SELECT deposit_credit('binance', $1, NULL, 'BTC', $2::numeric)");
        credit.bind(&pool).bind(amount).execute(&mut owner).await.unwrap();
        let give = sqlx::query("SELECT deposit_assign('binance', $1, '~rewards:' || $1, 'olga', 'ticket 6')");
        give.bind(&pool).execute(&mut owner).await.unwrap();
        pool
    }

    /// The same, of which the exchange knows.
    pub async fn true_pool(&self, amount: &str) -> String {
        let pool = self.pool(amount).await;
        self.exchange.deposit_as(&pool, "", "BTC", amount, 1).await;
        pool
    }

    /// A reward with an id of its own, in thirds for three users of its own, of which the platform keeps a hundredth.
    pub fn reward(&self, pool: &str, amount: &str) -> Value {
        let id = Uuid::now_v7();
        let shares: serde_json::Map<String, Value> =
            ["a", "b", "c"].iter().map(|name| (format!("u-{name}-{id}"), json!("1"))).collect();
        json!({
            "reward_id": format!("rw-{id}"), "pool": pool, "asset_id": "BTC", "amount": amount, "shares": shares,
            "platform_fee_bps": 100, "requested_by": "olga",
        })
    }

    /// What the users of a reward have of its asset, in the order of their names.
    pub async fn rewarded(&self, reward: &Value) -> Vec<String> {
        let mut has = Vec::new();
        for user in reward["shares"].as_object().unwrap().keys() {
            has.push(self.holds(user, reward["asset_id"].as_str().unwrap()).await);
        }
        has
    }
}

/// The workflow's id.
pub fn reward_workflow(reward: &Value) -> String {
    format!("reward/{}", reward["reward_id"].as_str().unwrap())
}
