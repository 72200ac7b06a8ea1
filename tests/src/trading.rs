//! Strategies with orders at the exchange, placed as the trading service would: reserved, recorded, sent.

use std::{sync::Arc, time::Duration};

use backstop_activities::{
    books::PlacedOrder,
    pacing::Unpaced,
    venue::{Binance, BinanceConfig, NewOrder, OrderKind, SendOutcome, Side, Spot, TimeInForce},
};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{custody::now_ms, operations::ADDRESS, world::World};

/// A strategy of a user of its own.
#[derive(Clone, Debug)]
pub struct Strategy {
    /// Its key.
    pub key: String,
    /// Whose it is.
    pub user: String,
}

/// Who places an order.
fn holder(order_id: &str) -> String {
    format!("intent/{order_id}")
}

impl World {
    /// A running strategy of a user of its own, who has one bitcoin and 10000 USDT.
    pub async fn strategy(&self) -> Strategy {
        let user = self.user().await;
        let credit = sqlx::query("SELECT deposit_credit('binance', $1, $2, 'USDT', 10000)");
        credit.bind(format!("usdt-{user}")).bind(&user).execute(&mut self.database.owner().await).await.unwrap();
        self.strategy_of(&user).await
    }

    /// A further running strategy of a user.
    pub async fn strategy_of(&self, user: &str) -> Strategy {
        let key = format!("mm-{}", Uuid::now_v7());
        let start = sqlx::query("SELECT strategy_start($1, $2, 'binance', 'BTC', 'USDT', '{}', 'olga')");
        start.bind(&key).bind(user).execute(&mut self.database.worker().await).await.unwrap();
        Strategy { key, user: user.to_owned() }
    }

    /// Places an order in a strategy's name, and gives its client id. With `sent` false the process that places it dies
    /// between its record and its send.
    pub async fn place(&self, strategy: &Strategy, side: &str, price: &str, quantity: &str, sent: bool) -> String {
        let order_id = self.open_order(strategy, side, price, quantity).await;
        let (window, visibility) = (Duration::from_millis(1_000), Duration::from_millis(1_500));
        let books = self.database.books(2).await;
        let slot = books.order_attempt(&order_id, &holder(&order_id), window, visibility).await.unwrap();
        let signed_at_ms = slot.granted().expect("a slot");
        if sent {
            let id = self.send_order(&order_id, side, price, quantity, signed_at_ms).await;
            books.order_place(&order_id, &id).await.unwrap();
        }
        order_id
    }

    /// The same as far as its opening: the process that places it dies before it records an attempt.
    pub async fn open_order(&self, strategy: &Strategy, side: &str, price: &str, quantity: &str) -> String {
        let order_id = Uuid::now_v7().simple().to_string();
        let holder = holder(&order_id);
        let order =
            PlacedOrder { order_id: &order_id, holder: &holder, strategy_key: &strategy.key, side, price, quantity };
        assert!(self.database.books(2).await.order_open(&order).await.unwrap());
        order_id
    }

    /// Opens an order, and sends it without a record: what books that were put back to before the attempt know of it.
    pub async fn place_and_forget(&self, strategy: &Strategy, side: &str, price: &str, quantity: &str) -> String {
        let order_id = self.open_order(strategy, side, price, quantity).await;
        self.send_unrecorded(&order_id, side, price, quantity).await;
        order_id
    }

    /// Sends an order of which the books record nothing.
    pub async fn send_unrecorded(&self, order_id: &str, side: &str, price: &str, quantity: &str) {
        self.send_order(order_id, side, price, quantity, i64::try_from(now_ms()).unwrap()).await;
    }

    /// Sends an order of which the books know nothing: what is left of one after they were put back to before its intent.
    pub async fn place_behind_the_books(&self, side: &str, price: &str, quantity: &str) -> String {
        let order_id = Uuid::now_v7().simple().to_string();
        self.send_unrecorded(&order_id, side, price, quantity).await;
        order_id
    }

    /// Cancels an order at the venue, as the connector does.
    pub async fn cancel(&self, order_id: &str) {
        let outcome = self.spot().cancel("BTCUSDT", order_id, i64::try_from(now_ms()).unwrap()).await;
        assert!(matches!(outcome, SendOutcome::Done(_)), "{outcome:?}");
    }

    async fn send_order(&self, order_id: &str, side: &str, price: &str, quantity: &str, signed_at_ms: i64) -> String {
        let side = if side == "buy" { Side::Buy } else { Side::Sell };
        let kind = OrderKind::Limit { price, time_in_force: TimeInForce::GoodTillCancelled };
        let order = NewOrder { client_id: order_id, symbol: "BTCUSDT", side, kind, quantity };
        let outcome = self.spot().place(order, signed_at_ms).await;
        let SendOutcome::Done(id) = outcome else { panic!("not placed: {outcome:?}") };
        id
    }

    fn spot(&self) -> Binance {
        let config = BinanceConfig {
            base_url: self.exchange.url().parse().unwrap(),
            api_key: "test-key".into(),
            api_secret: "test-secret".to_owned().into(),
            receive_window: Duration::from_millis(1_000),
            answer_timeout: Duration::from_millis(1_500),
        };
        Binance::new(config, Arc::new(Unpaced)).unwrap()
    }

    /// A pause-and-withdraw of some bitcoin, with an id of its own.
    pub fn pause(&self, strategy: &Strategy, amount: &str) -> Value {
        json!({
            "operation_id": format!("p-{}", Uuid::now_v7()), "strategy_key": strategy.key, "user_id": strategy.user,
            "requested_by": "rita", "asset_id": "BTC", "amount": amount,
            "destination": {"network": "BTC", "address": ADDRESS},
        })
    }
}
