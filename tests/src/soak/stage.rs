//! The ground of a soak: books, three venues with records of their own, and strategies with money.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use backstop::serve::connect_temporal;
use backstop_activities::{
    pacing::Unpaced,
    venue::{Binance, BinanceConfig, NewOrder, OrderKind, SendOutcome, Side, Spot, TimeInForce},
};
use rust_decimal::Decimal;
use serde_json::{Value, json};
use temporalio_client::Client;
use tokio::process::Command;
use uuid::Uuid;

use super::{Options, jobs::Job};
use crate::{
    Database, Exchange,
    exchange::ORDER,
    servers::{TEMPORAL_ADDRESS, setting},
    trading::Strategy,
    world::program,
};

/// The venues, by their names in the books.
const VENUES: [&str; 3] = ["binance", "kraken-like", "okx_like"];
/// What each user gets of each asset.
const MONEY: [(&str, &str); 2] = [("BTC", "500"), ("USDT", "1000000")];
/// From one call of a venue to the next, for both processes together.
const MIN_INTERVAL_MS: &str = "5";
/// How often a venue executes an order and its answer is lost.
const ANSWERS_LOST: f64 = 0.02;

/// Where a soak happens. Removed at its end.
pub struct Stage {
    /// The books.
    pub database: Database,
    /// The venues.
    pub venues: Vec<Venue>,
    pub(super) strategies: Vec<Strategy>,
    pub(super) client: Client,
    pub(super) queue: String,
    pub(super) directory: PathBuf,
    /// What its ids begin with: the servers are shared.
    name: String,
}

/// A venue with records of its own.
pub struct Venue {
    /// Its name in the books.
    pub name: &'static str,
    /// The exchange that goes by it.
    pub exchange: Exchange,
    /// Its free balances at first.
    pub(super) initial: BTreeMap<String, Decimal>,
}

impl Stage {
    /// Sets everything up but the workers.
    pub(super) async fn set(options: &Options) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let name = Uuid::now_v7().simple().to_string();
        let directory = std::env::temp_dir().join(format!("backstop-soak-{name}"));
        let mut venues = Vec::new();
        for venue in VENUES {
            venues.push(open(venue, &directory, options).await);
        }
        let mut stage = Self {
            database: Database::create().await,
            venues,
            strategies: Vec::new(),
            client: connect_temporal(&setting(TEMPORAL_ADDRESS), "default").await.unwrap(),
            queue: format!("{name}.backstop"),
            directory,
            name,
        };
        stage.start_strategies(options.strategies).await;
        stage.backstop(&["gate", "--global", &options.global_gate.to_string()]).await;
        for venue in VENUES {
            stage.backstop(&["gate", "--venue", venue, &options.venue_gate.to_string()]).await;
            stage.backstop(&["pace", "--venue", venue, "--min-interval-ms", MIN_INTERVAL_MS]).await;
        }
        stage
    }

    async fn start_strategies(&mut self, how_many: usize) {
        let mut owner = self.database.owner().await;
        for number in 0..how_many {
            let user = format!("u-{}", number / 2);
            if number % 2 == 0 {
                for (asset, amount) in MONEY {
                    let credit = sqlx::query("SELECT deposit_credit('binance', $1, $2, $3, $4::numeric)");
                    let credit = credit.bind(format!("{asset}-{user}")).bind(&user).bind(asset).bind(amount);
                    credit.execute(&mut owner).await.unwrap();
                }
            }
            let key = format!("mm-{number:02}");
            let start = sqlx::query("SELECT strategy_start($1, $2, $3, 'BTC', 'USDT', '{}', 'olga')");
            start.bind(&key).bind(&user).bind(self.venue_of(number).name).execute(&mut owner).await.unwrap();
            self.strategies.push(Strategy { key, user });
        }
    }

    /// Runs the real `backstop` command line as an operator does.
    async fn backstop(&self, words: &[&str]) {
        let mut command = Command::new(program("backstop"));
        let output = command.args(words).env("DATABASE_URL", self.database.url()).output().await.unwrap();
        assert!(output.status.success(), "{words:?}: {output:?}");
    }

    /// Places an order at a venue that the books know nothing of.
    pub async fn place_behind_the_books(&self, venue: &Venue) {
        let config = BinanceConfig {
            base_url: venue.exchange.url().parse().unwrap(),
            api_key: "test-key".into(),
            api_secret: "test-secret".to_owned().into(),
            receive_window: Duration::from_secs(5),
            answer_timeout: Duration::from_secs(5),
        };
        let kind = OrderKind::Limit { price: "120000", time_in_force: TimeInForce::GoodTillCancelled };
        let order =
            NewOrder { client_id: "nobody-knows", symbol: "BTCUSDT", side: Side::Sell, kind, quantity: "0.001" };
        let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
        venue.exchange.end_faults().await;
        let outcome = Binance::new(config, Arc::new(Unpaced)).unwrap().place(order, now_ms.try_into().unwrap()).await;
        assert!(matches!(outcome, SendOutcome::Done(_)), "{outcome:?}");
    }

    /// The venue that a strategy trades at.
    pub(super) fn venue_of(&self, strategy: usize) -> &Venue {
        &self.venues[strategy % self.venues.len()]
    }

    /// The intent that places a job's order.
    pub(super) fn place(&self, job: &Job) -> Value {
        let mut intent = self.intent(job, "place_limit_order", "i");
        intent["side"] = if job.buys { "buy" } else { "sell" }.into();
        intent["price"] = job.price().into();
        intent["qty"] = job.quantity().into();
        intent["post_only"] = job.post_only().into();
        intent
    }

    /// The intent that cancels it.
    pub(super) fn cancel(&self, job: &Job) -> Value {
        let mut intent = self.intent(job, "cancel_order", "c");
        intent["order_intent_id"] = self.place(job)["intent_id"].clone();
        intent
    }

    fn intent(&self, job: &Job, kind: &str, letter: &str) -> Value {
        let strategy = &self.strategies[job.strategy];
        json!({
            "intent_id": format!("{}-{letter}-{:05}", self.name, job.number), "kind": kind,
            "strategy_key": strategy.key, "user_id": strategy.user, "venue": self.venue_of(job.strategy).name,
            "pair": "BTC/USDT",
        })
    }
}

/// Opens a venue that takes its time over orders, and loses an answer now and then.
async fn open(name: &'static str, directory: &std::path::Path, options: &Options) -> Venue {
    let directory = directory.join(name);
    std::fs::create_dir_all(&directory).unwrap();
    let exchange = Exchange::start(&directory).await;
    exchange.set(json!({"balances": {"BTC": "100000", "USDT": "100000000"}})).await;
    let initial = exchange.balances().await;
    let lost = json!({
        "fault": "lose_answer", "method": "POST", "probability": ANSWERS_LOST, "seed": options.seed.min(1 << 32),
    });
    exchange.fault_for_all(ORDER, lost).await;
    let slow = json!({"fault": "delay", "ms": millis(options.venue_delay), "method": "POST", "probability": 1.0});
    exchange.fault_for_all(ORDER, slow).await;
    Venue { name, exchange, initial }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap()
}

impl Drop for Stage {
    fn drop(&mut self) {
        if std::env::var_os("BACKSTOP_TEST_KEEP").is_some() {
            eprintln!("kept {}", self.directory.display());
            return;
        }
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}
