use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use backstop::stack::wait_until;
use backstop_simulator::{Config, Running, Simulator};
use rust_decimal::Decimal;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::Mutex;
use uuid::Uuid;

use crate::world::DEADLINE;

/// The request that withdrawals are asked for with.
pub const APPLY: &str = "/sapi/v1/capital/withdraw/apply";
/// The request that orders are placed, looked up and cancelled with.
pub const ORDER: &str = "/api/v3/order";
/// The request that deposits are looked up with.
pub const DEPOSITS: &str = "/sapi/v1/capital/deposit/hisrec";
/// The request that withdrawals are looked up with.
pub const HISTORY: &str = "/sapi/v1/capital/withdraw/history";

/// A paper exchange of the test's own, told what to do and asked what it did over its admin API.
pub struct Exchange {
    /// `None` while nobody listens.
    running: Mutex<Option<Running>>,
    config: Config,
    http: reqwest::Client,
    initial: BTreeMap<String, Decimal>,
}

/// What the exchange really did, whether its API shows it or not.
#[derive(Clone, Debug, Deserialize)]
pub struct Withdrawal {
    /// The exchange's id.
    pub id: String,
    /// The client's id of it.
    pub client_id: Option<String>,
    /// The asset, by the exchange's name.
    pub coin: String,
    /// What left the account.
    pub amount: Decimal,
    /// What the network took of it.
    pub fee: Decimal,
    /// How it stands.
    pub state: String,
}

impl Withdrawal {
    /// True unless it ended without paying.
    pub fn pays(&self) -> bool {
        !matches!(self.state.as_str(), "failed" | "rejected" | "cancelled")
    }
}

impl Exchange {
    /// Starts one whose withdrawals complete quickly, with its journal in `directory`.
    pub async fn start(directory: &Path) -> Self {
        let loopback = || "127.0.0.1:0".parse().unwrap();
        let mut config = Config {
            listen: loopback(),
            admin_listen: loopback(),
            state: directory.join("simulator.jsonl"),
            api_key: "test-key".into(),
            api_secret: "test-secret".into(),
        };
        let running = Simulator::start(config.clone()).await.unwrap();
        (config.listen, config.admin_listen) = (running.api_addr(), running.admin_addr());
        let (running, http) = (Mutex::new(Some(running)), reqwest::Client::new());
        let mut exchange = Self { running, config, http, initial: BTreeMap::new() };
        exchange.set(json!({"processing_after_ms": 50, "complete_after_ms": 300, "balances": {"BTC": "1000"}})).await;
        exchange.initial = exchange.balances().await;
        exchange
    }

    /// Where its API is.
    pub fn url(&self) -> String {
        format!("http://{}", self.config.listen)
    }

    /// Stops listening: connections are refused.
    pub async fn vanish(&self) {
        if let Some(running) = self.running.lock().await.take() {
            running.stop().await;
        }
    }

    /// Listens again at the same addresses, with the same books and without faults, if it does not.
    pub async fn come_back(&self) {
        let mut running = self.running.lock().await;
        if running.is_none() {
            let start = async || Simulator::start(self.config.clone()).await.ok();
            let mut started = None;
            assert!(
                wait_until(DEADLINE, async || {
                    started = start().await;
                    started.is_some()
                })
                .await,
                "the exchange can't listen on {} again",
                self.config.listen
            );
            *running = started;
        }
    }

    /// Where its admin API is.
    pub fn admin_url(&self) -> String {
        format!("http://{}", self.config.admin_listen)
    }

    pub(crate) async fn admin(&self, method: reqwest::Method, path: &str, body: Option<Value>) -> Value {
        let admin: SocketAddr = self.config.admin_listen;
        let request = self.http.request(method, format!("http://{admin}{path}"));
        let request = if let Some(body) = body { request.json(&body) } else { request };
        let answer = request.send().await.unwrap();
        let (status, body) = (answer.status(), answer.text().await.unwrap());
        assert!(status.is_success(), "{path}: {status} {body}");
        serde_json::from_str(&body).unwrap()
    }

    /// What it shows of deposits that came in before anything else; the balances are the same.
    pub(crate) async fn opens_with(&mut self, deposits: Vec<Value>) {
        for deposit in deposits {
            self.deposit_by(deposit).await;
        }
        self.set(json!({"balances": self.initial})).await;
    }

    /// The free balances that there are.
    pub async fn balances(&self) -> BTreeMap<String, Decimal> {
        let settings = self.admin(reqwest::Method::GET, "/settings", None).await;
        serde_json::from_value(settings["balances"].clone()).unwrap()
    }

    /// What came to the free balances, or went, by deposits, trades and what open orders hold.
    pub async fn moved(&self) -> BTreeMap<String, Decimal> {
        let number = |value: &Value| value.as_str().unwrap_or_default().parse::<Decimal>().unwrap_or_default();
        let mut moved: BTreeMap<String, Decimal> = BTreeMap::new();
        let mut add = |coin: &str, amount: Decimal| *moved.entry(coin.to_owned()).or_default() += amount;
        let counts = |deposit: &&Value| {
            deposit["status"] != 0 && deposit["id"].as_str().is_some_and(|id| !id.starts_with("demo-"))
        };
        for deposit in self.list("/deposits").await.iter().filter(counts) {
            add(deposit["coin"].as_str().unwrap(), number(&deposit["amount"]));
        }
        // Before the orders, so that each trade's order is among them.
        let trades = self.all_trades().await;
        let orders = self.list("/orders").await;
        for order in &orders {
            let sells = order["side"] == "SELL";
            let (base, quote) = coins(order);
            add(if sells { base } else { quote }, -number(&order["locked"]));
        }
        for trade in trades {
            let order = orders.iter().find(|order| order["id"] == trade["order_id"]).unwrap();
            let sign = if order["side"] == "SELL" { -Decimal::ONE } else { Decimal::ONE };
            let (base, quote) = coins(order);
            add(base, sign * number(&trade["qty"]));
            add(quote, -sign * number(&trade["quote_qty"]));
            add(trade["fee_asset"].as_str().unwrap(), -number(&trade["fee"]));
        }
        moved
    }

    async fn list(&self, path: &str) -> Vec<Value> {
        self.admin(reqwest::Method::GET, path, None).await.as_array().unwrap().clone()
    }

    /// The free balances that there were at first.
    pub fn initial_balances(&self) -> &BTreeMap<String, Decimal> {
        &self.initial
    }

    /// Changes settings.
    pub async fn set(&self, settings: Value) {
        self.admin(reqwest::Method::PUT, "/settings", Some(settings)).await;
    }

    /// Adds a fault for the requests about one payout.
    pub async fn fault(&self, path: &str, payout_id: &str, mut fault: Value) -> String {
        fault["client_id"] = client_id(payout_id).into();
        self.fault_for_all(path, fault).await
    }

    /// Adds a fault for whatever is asked at a path. Payouts share the polls of [`HISTORY`], which name none of them.
    pub async fn fault_for_all(&self, path: &str, mut fault: Value) -> String {
        fault["path"] = path.into();
        let added = self.admin(reqwest::Method::POST, "/faults", Some(fault)).await;
        added["fault_id"].as_str().unwrap().to_owned()
    }

    /// Ends a fault and lets go of what it holds.
    pub async fn end_fault(&self, fault_id: &str) {
        self.admin(reqwest::Method::DELETE, &format!("/faults/{fault_id}"), None).await;
    }

    /// Ends all faults.
    pub async fn end_faults(&self) {
        self.admin(reqwest::Method::DELETE, "/faults", None).await;
    }

    /// Every request it has received, oldest first.
    pub async fn log(&self) -> Vec<Value> {
        let log = self.admin(reqwest::Method::GET, "/requests", None).await;
        serde_json::from_value(log).unwrap()
    }

    /// Makes a withdrawal behind everybody's back, completed, under the client id of a payout.
    pub async fn pay_behind_our_back(&self, payout_id: &str, amount: &str) {
        let body = json!({"client_id": client_id(payout_id), "coin": "BTC", "amount": amount, "state": "completed"});
        self.admin(reqwest::Method::POST, "/withdrawals", Some(body)).await;
    }

    /// The same, so long ago, and still on its way. Returns the exchange's id of it.
    pub async fn make_behind_our_back(&self, payout_id: &str, amount: &str, ago_ms: u64) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
        let at = u64::try_from(now).unwrap() - ago_ms;
        let body = json!({"client_id": client_id(payout_id), "coin": "BTC", "amount": amount, "executed_at_ms": at});
        let made = self.admin(reqwest::Method::POST, "/withdrawals", Some(body)).await;
        made["id"].as_str().unwrap().to_owned()
    }

    /// Puts a withdrawal into a state.
    pub async fn force(&self, withdrawal_id: &str, state: &str) {
        let body = json!({"state": state, "info": "forced by the test"});
        self.admin(reqwest::Method::POST, &format!("/withdrawals/{withdrawal_id}"), Some(body)).await;
    }

    /// Lets a deposit come in, final at once. Returns the exchange's id of it.
    pub async fn deposit(&self, tag: &str, asset: &str, amount: &str) -> String {
        self.deposit_as(&Uuid::now_v7().simple().to_string(), tag, asset, amount, 1).await
    }

    /// Lets a deposit come in, or changes it, in one of the exchange's states (0 pending, 1 final, 6 locked).
    pub async fn deposit_as(&self, id: &str, tag: &str, asset: &str, amount: &str, status: u8) -> String {
        let body = json!({
            "id": id, "coin": asset, "amount": amount, "address": "house", "tag": tag, "tx_id": format!("tx-{id}"),
            "status": status,
        });
        self.deposit_by(body).await
    }

    /// Lets a deposit come in, or changes it, in the words of the exchange's admin API.
    pub async fn deposit_by(&self, deposit: Value) -> String {
        let made = self.admin(reqwest::Method::POST, "/deposits", Some(deposit)).await;
        made["id"].as_str().unwrap().to_owned()
    }

    /// What it really knows of an order, by the client id that it was placed with.
    pub async fn order(&self, client_id: &str) -> Value {
        let orders = self.admin(reqwest::Method::GET, &format!("/orders?client_id={client_id}"), None).await;
        orders[0].clone()
    }

    /// How many requests of a kind it has received, and how many of them were in its hands at the same moment.
    pub async fn traffic(&self, method: &str, path: &str) -> (u64, u64) {
        let counts = self.list(&format!("/traffic?method={method}&path={path}")).await;
        let number = |name: &str| counts.first().and_then(|count| count[name].as_u64()).unwrap_or_default();
        (number("received"), number("most_in_flight"))
    }

    /// Every order it really has.
    pub async fn all_orders(&self) -> Vec<Value> {
        self.list("/orders").await
    }

    /// Every trade that it has made, whether it shows it yet or not.
    pub async fn all_trades(&self) -> Vec<Value> {
        self.list("/trades").await
    }

    /// Every order it really has under a client id.
    pub async fn orders(&self, client_id: &str) -> Vec<Value> {
        self.list(&format!("/orders?client_id={client_id}")).await
    }

    /// How often it was asked to place an order with this client id.
    pub async fn sends(&self, client_id: &str) -> usize {
        let requests = self.list(&format!("/requests?client_id={client_id}&path=/api/v3/order")).await;
        requests.iter().filter(|request| request["method"] == "POST").count()
    }

    /// Lets an order trade some of its quantity.
    pub async fn fill(&self, client_id: &str, fill: Value) {
        let id = self.order(client_id).await["id"].as_str().unwrap().to_owned();
        self.admin(reqwest::Method::POST, &format!("/orders/{id}/fill"), Some(fill)).await;
    }

    /// Every withdrawal it ever made for a payout.
    pub async fn withdrawals(&self, payout_id: &str) -> Vec<Withdrawal> {
        let path = format!("/withdrawals?client_id={}", client_id(payout_id));
        serde_json::from_value(self.admin(reqwest::Method::GET, &path, None).await).unwrap()
    }

    /// Every withdrawal it ever made.
    pub async fn all_withdrawals(&self) -> Vec<Withdrawal> {
        serde_json::from_value(self.admin(reqwest::Method::GET, "/withdrawals", None).await).unwrap()
    }

    /// Waits until it has received two more requests of a path.
    pub async fn is_asked_twice(&self, path: &str) {
        let before = self.all_requests(path).await.len();
        let asked = wait_until(DEADLINE, async || self.all_requests(path).await.len() >= before + 2).await;
        assert!(asked, "{path} is not asked");
    }

    /// Every request of a path that it has received.
    pub async fn all_requests(&self, path: &str) -> Vec<Value> {
        let all = self.admin(reqwest::Method::GET, &format!("/requests?path={path}"), None).await;
        all.as_array().unwrap().clone()
    }

    /// How many requests about a payout it has received.
    pub async fn requests(&self, path: &str, payout_id: &str) -> usize {
        let path = format!("/requests?client_id={}&path={path}", client_id(payout_id));
        self.admin(reqwest::Method::GET, &path, None).await.as_array().unwrap().len()
    }
}

/// The client id that the payout's requests carry, worked out independently of the code under test.
pub fn client_id(payout_id: &str) -> String {
    Uuid::new_v5(&Uuid::NAMESPACE_URL, format!("backstop:payout:{payout_id}").as_bytes()).simple().to_string()
}

/// Base and quote of an order's symbol.
fn coins(order: &Value) -> (&str, &str) {
    let symbol = order["symbol"].as_str().unwrap();
    let quote = ["USDT", "BTC"].into_iter().find(|quote| symbol.ends_with(quote)).unwrap();
    symbol.split_at(symbol.len() - quote.len())
}
