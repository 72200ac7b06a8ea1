//! `RunStrategy`, end to end: a strategy that quotes at the exchange, tick by tick.
#![allow(clippy::unwrap_used)]

mod input;
mod quiet;
mod quoting;
mod ticking;

use backstop::stack::wait_until;
use backstop_domain::strategy::Ticks;
use backstop_tests::{World, books_checker, operations::End, world::DEADLINE};
use serde_json::{Value, json};
use uuid::Uuid;

/// A market maker with a user of its own, who has one bitcoin and 10000 USDT.
struct Maker {
    key: String,
    user: String,
    input: Value,
}

impl Maker {
    async fn of(world: &World, tick_ms: u64) -> Self {
        let user = world.user().await;
        let credit = sqlx::query("SELECT deposit_credit('binance', $1, $2, 'USDT', 10000)");
        credit.bind(format!("usdt-{user}")).bind(&user).execute(&mut world.database.owner().await).await.unwrap();
        let key = format!("mm-{}", Uuid::now_v7());
        let input = json!({
            "start_id": format!("start-{key}"), "strategy_key": key, "user_id": user, "venue": "binance",
            "pair": "BTC/USDT", "requested_by": "rita", "tick_ms": tick_ms,
            "parameters": {"spread_bps": 40, "order_size": "0.01", "layers": 2, "layer_step_bps": 20,
                           "refresh_tolerance_bps": 10},
        });
        Self { key, user, input }
    }

    fn id(&self) -> String {
        format!("strategy/{}", self.key)
    }

    async fn start(&self, world: &World) {
        world.start_any("RunStrategy", &self.id(), &self.input).await;
    }

    /// The exchange's open orders of the account, as `SIDE price`, sorted.
    async fn quotes(&self, world: &World) -> Vec<String> {
        let orders = world.exchange.all_orders().await;
        let open = orders.iter().filter(|order| is_open(order));
        let text = |order: &Value, field: &str| order[field].as_str().unwrap().to_owned();
        let mut quotes: Vec<String> =
            open.map(|order| format!("{} {}", text(order, "side"), text(order, "price"))).collect();
        quotes.sort();
        quotes
    }

    /// Waits until so many orders are open at the exchange.
    async fn has_quotes(&self, world: &World, many: usize) {
        let held = wait_until(DEADLINE, async || self.quotes(world).await.len() == many).await;
        let status = world.status_of(&self.id()).await;
        assert!(held, "{:?} instead of {many} quotes: {status:?}", self.quotes(world).await);
    }

    async fn ticks(&self, world: &World) -> Ticks {
        world.query_of(&self.id(), "ticks").await
    }

    /// Waits until the ticks are so.
    async fn ticks_are(&self, world: &World, what: &str, so: impl Fn(&Ticks) -> bool) {
        let held = wait_until(DEADLINE, async || so(&self.ticks(world).await)).await;
        assert!(held, "{what}: {:?}", self.ticks(world).await);
    }

    /// Waits until a component says so.
    async fn shows(&self, world: &World, component: &str, text: &str) {
        let says = async || {
            let progress = world.status_of(&self.id()).await;
            let step = progress.steps.into_iter().find(|step| step.step == component);
            step.is_some_and(|step| step.note.contains(text))
        };
        let status = async || world.status_of(&self.id()).await;
        assert!(wait_until(DEADLINE, says).await, "{component} never says {text:?}: {:?}", status().await);
    }

    async fn stop(&self, world: &World) -> End {
        world.update(&self.id(), "stop", word()).await.unwrap();
        world.end_of(&self.id()).await
    }
}

fn is_open(order: &Value) -> bool {
    matches!(order["state"].as_str(), Some("NEW" | "PARTIALLY_FILLED"))
}

fn word() -> Value {
    json!({"operator": "olga", "reason": "a test"})
}

/// The books are sound, nothing is set aside, and every order that the exchange has belongs to one intent.
async fn assert_over(world: &World, maker: &Maker) {
    maker.has_quotes(world, 0).await;
    let unsound = books_checker::check(&mut world.database.owner().await).await;
    assert!(unsound.is_empty(), "{unsound:?}");
    for asset in ["BTC", "USDT"] {
        let holds = world.holds(&maker.user, asset).await;
        assert!(holds.ends_with(" + 0"), "{asset}: {holds}");
    }
    let orders = world.exchange.all_orders().await;
    let mut ids: Vec<&str> = orders.iter().map(|order| order["client_id"].as_str().unwrap()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), orders.len(), "an order was sent twice: {orders:?}");
}
