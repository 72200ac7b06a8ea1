//! A paper exchange of the test's own, in this process, reached over HTTP like any other.

use std::path::{Path, PathBuf};

use backstop_simulator::{Config, Running, Simulator};
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::client::{APPLY, HISTORY, KEY, SECRET, tls, until};

pub(crate) struct Exchange {
    running: Running,
    http: reqwest::Client,
    journal: PathBuf,
}

impl Exchange {
    pub(crate) async fn start() -> Self {
        tls();
        let journal = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("venue-{}.jsonl", Uuid::now_v7()));
        let config = Config {
            listen: "127.0.0.1:0".parse().unwrap(),
            admin_listen: "127.0.0.1:0".parse().unwrap(),
            state: journal.clone(),
            api_key: KEY.into(),
            api_secret: SECRET.into(),
        };
        let running = Simulator::start(config).await.unwrap();
        Self { running, http: reqwest::Client::new(), journal }
    }

    pub(crate) fn url(&self) -> String {
        self.running.api_url()
    }

    pub(crate) async fn admin(&self, method: Method, path: &str, body: Value) -> Value {
        let request = self.http.request(method, format!("{}{path}", self.running.admin_url()));
        let request = if body.is_null() { request } else { request.json(&body) };
        let answer = request.send().await.unwrap();
        let (status, body) = (answer.status(), answer.text().await.unwrap());
        assert!(status.is_success(), "{path}: {status} {body}");
        serde_json::from_str(&body).unwrap()
    }

    pub(crate) async fn set(&self, settings: Value) {
        self.admin(Method::PUT, "/settings", settings).await;
    }

    /// The next submit meets this fault.
    pub(crate) async fn fault_on_submit(&self, fault: Value) -> String {
        self.fault(APPLY, fault).await
    }

    /// The next lookup meets this fault.
    pub(crate) async fn fault_on_lookup(&self, fault: Value) -> String {
        self.fault(HISTORY, fault).await
    }

    pub(crate) async fn fault(&self, path: &str, mut fault: Value) -> String {
        fault["path"] = path.into();
        let added = self.admin(Method::POST, "/faults", fault).await;
        added["fault_id"].as_str().unwrap().to_owned()
    }

    /// Waits until a rule holds a request.
    pub(crate) async fn holds_one(&self) {
        until("a request is held", async || {
            let rules = self.admin(Method::GET, "/faults", Value::Null).await;
            rules.as_array().unwrap().iter().any(|rule| rule["held"] == 1).then_some(())
        })
        .await;
    }

    /// Removes a rule and lets go of what it holds.
    pub(crate) async fn release(&self, fault_id: &str) {
        self.admin(Method::DELETE, &format!("/faults/{fault_id}"), Value::Null).await;
    }

    /// Makes a record without a request.
    pub(crate) async fn insert(&self, record: Value) -> String {
        let record = self.admin(Method::POST, "/withdrawals", record).await;
        record["id"].as_str().unwrap().to_owned()
    }

    /// Makes a deposit without a transaction.
    pub(crate) async fn deposit(&self, deposit: Value) -> Value {
        self.admin(Method::POST, "/deposits", deposit).await
    }

    /// How many requests of a path it has received.
    pub(crate) async fn asked(&self, path: &str) -> usize {
        self.admin(Method::GET, &format!("/requests?path={path}"), Value::Null).await.as_array().unwrap().len()
    }

    /// What it really did for a client id, whether its API shows it or not.
    pub(crate) async fn executed(&self, client_id: &str) -> Vec<Value> {
        let all = self.admin(Method::GET, "/withdrawals", Value::Null).await;
        all.as_array().unwrap().iter().filter(|record| record["client_id"] == client_id).cloned().collect()
    }

    /// Every submit and lookup it has received about a client id.
    pub(crate) async fn received(&self, client_id: &str) -> Vec<Value> {
        let all = self.admin(Method::GET, "/requests", Value::Null).await;
        all.as_array().unwrap().iter().filter(|request| request["client_id"] == client_id).cloned().collect()
    }

    /// The one request about a client id, once the exchange is through with it.
    pub(crate) async fn finished(&self, client_id: &str) -> Value {
        until("the request is worked off", async || {
            let received = self.received(client_id).await;
            assert!(received.len() <= 1, "{received:?}");
            received.into_iter().find(|request| !request["finished_at_ms"].is_null())
        })
        .await
    }

    /// Asserts that there was exactly one request about a client id, and how many withdrawals it made.
    pub(crate) async fn saw_one(&self, client_id: &str, executed: usize, context: &str) {
        assert_eq!(self.received(client_id).await.len(), 1, "requests: {context}");
        assert_eq!(self.executed(client_id).await.len(), executed, "withdrawals: {context}");
    }

    /// Shifts the exchange's clock, as if so much time had passed between arrival and execution.
    pub(crate) async fn shift_clock(&self, ms: i64) {
        self.set(json!({"clock_offset_ms": ms})).await;
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        // Nothing reads it again; that it can't be removed is no reason to fail.
        drop(std::fs::remove_file(&self.journal));
    }
}
