//! A client small enough to see what is on the wire, and a started exchange to use it on.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use backstop_simulator::{Config, Running, Simulator};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

pub(crate) const KEY: &str = "test-key";
pub(crate) const SECRET: &str = "test-secret";
pub(crate) const APPLY: &str = "/sapi/v1/capital/withdraw/apply";
pub(crate) const HISTORY: &str = "/sapi/v1/capital/withdraw/history";
pub(crate) const ACCOUNT: &str = "/api/v3/account";
pub(crate) const ETH_ADDRESS: &str = "0x94df8b352de7f46f64b01d3666bf6e936e44ce60";
pub(crate) const TRX_ADDRESS: &str = "TXYZopYRdj2D9XRtbG411XZZ3kM5VkAeBf";
pub(crate) const DAY_MS: i64 = 86_400_000;

/// How long anything may take before a test gives up.
const PATIENCE: Duration = Duration::from_secs(20);

/// Parameters of a request.
pub(crate) type Params<'a> = &'a [(&'a str, &'a str)];

/// An answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    /// The head in lower case.
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Reply {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    /// Status and error code.
    pub(crate) fn refusal(&self) -> (u16, i64) {
        (self.status, self.json()["code"].as_i64().unwrap())
    }

    /// The id of a withdrawal that was answered with 200.
    pub(crate) fn id(&self) -> String {
        assert_eq!(self.status, 200, "{}", self.body);
        self.json()["id"].as_str().unwrap().to_owned()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

/// Connects and writes a request.
pub(crate) async fn write(to: SocketAddr, method: &str, target: &str, headers: &str, body: &str) -> TcpStream {
    let mut stream = TcpStream::connect(to).await.unwrap();
    let length = body.len();
    let request = format!(
        "{method} {target} HTTP/1.1\r\nhost: {to}\r\nconnection: close\r\n\
         content-length: {length}\r\n{headers}\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

/// Reads to the end of the connection; `None` when it ends without a byte.
pub(crate) async fn read(mut stream: TcpStream) -> Option<Reply> {
    let mut bytes = Vec::new();
    let read = timeout(PATIENCE, stream.read_to_end(&mut bytes)).await;
    read.unwrap().unwrap();
    if bytes.is_empty() {
        return None;
    }
    let text = String::from_utf8(bytes).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    Some(Reply {
        status: head.split(' ').nth(1).unwrap().parse().unwrap(),
        head: head.to_lowercase(),
        body: body.to_owned(),
    })
}

pub(crate) fn now_ms() -> i64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(elapsed.as_millis()).unwrap()
}

pub(crate) fn encode(params: Params<'_>) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(params).finish()
}

pub(crate) fn signature(payload: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    mac.update(payload.as_bytes());
    let digest = mac.finalize().into_bytes();
    let digits: Vec<String> = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    digits.concat()
}

/// Asks again and again until there is something, or patience ends.
pub(crate) async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = ask().await {
            return found;
        }
        assert!(Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A running exchange with a journal of its own.
pub(crate) struct Sim {
    pub(crate) state: PathBuf,
    running: Option<Running>,
    pub(crate) api: SocketAddr,
    pub(crate) admin: SocketAddr,
}

pub(crate) fn fresh_state() -> PathBuf {
    let name = format!("simulator-{}.jsonl", uuid::Uuid::new_v4());
    std::env::temp_dir().join(name)
}

impl Sim {
    pub(crate) async fn start() -> Self {
        Self::over(fresh_state()).await
    }

    /// Starts over a journal, which is removed at the end.
    pub(crate) async fn over(state: PathBuf) -> Self {
        let running = Simulator::start(config(&state)).await.unwrap();
        Self { state, api: running.api_addr(), admin: running.admin_addr(), running: Some(running) }
    }

    /// Stops, and starts again over the same journal.
    pub(crate) async fn restart(&mut self) {
        self.stop().await;
        let running = Simulator::start(config(&self.state)).await.unwrap();
        self.api = running.api_addr();
        self.admin = running.admin_addr();
        self.running = Some(running);
    }

    pub(crate) async fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            running.stop().await;
        }
    }

    /// Sends a signed request; parameters of a POST go into the body.
    pub(crate) async fn send(&self, method: &str, path: &str, params: Params<'_>) -> TcpStream {
        let now = now_ms().to_string();
        let mut all = params.to_vec();
        if !params.iter().any(|(name, _)| *name == "timestamp") {
            all.push(("timestamp", &now));
        }
        let payload = encode(&all);
        let signed = format!("{payload}&signature={}", signature(&payload));
        let headers = format!("x-mbx-apikey: {KEY}\r\n");
        if method == "POST" {
            let form = "content-type: application/x-www-form-urlencoded\r\n";
            let headers = format!("{headers}{form}");
            write(self.api, method, path, &headers, &signed).await
        } else {
            let target = format!("{path}?{signed}");
            write(self.api, method, &target, &headers, "").await
        }
    }

    /// Sends a signed request and reads the answer; `None` when there is none.
    pub(crate) async fn try_call(&self, method: &str, path: &str, params: Params<'_>) -> Option<Reply> {
        read(self.send(method, path, params).await).await
    }

    pub(crate) async fn get(&self, path: &str, params: Params<'_>) -> Reply {
        self.try_call("GET", path, params).await.unwrap()
    }

    /// Withdraws some USDT under a client's id.
    pub(crate) async fn withdraw(&self, client_id: &str) -> Option<Reply> {
        self.try_call("POST", APPLY, &usdt(client_id)).await
    }

    /// History records of a client's id.
    pub(crate) async fn found(&self, client_id: &str) -> Vec<Value> {
        let params = [("withdrawOrderId", client_id)];
        let reply = self.get(HISTORY, &params).await;
        assert_eq!(reply.status, 200, "{}", reply.body);
        reply.json().as_array().unwrap().clone()
    }

    pub(crate) async fn free(&self, coin: &str) -> String {
        let account = self.get(ACCOUNT, &[]).await.json();
        let balances = account["balances"].as_array().unwrap();
        let balance = balances.iter().find(|balance| balance["asset"] == coin);
        balance.unwrap()["free"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn try_admin(&self, method: &str, target: &str, body: &Value) -> Reply {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        read(write(self.admin, method, target, "", &body).await).await.unwrap()
    }

    pub(crate) async fn admin(&self, method: &str, target: &str, body: Value) -> Value {
        let reply = self.try_admin(method, target, &body).await;
        assert_eq!(reply.status, 200, "{target}: {}", reply.body);
        reply.json()
    }

    pub(crate) async fn settings(&self, change: Value) -> Value {
        self.admin("PUT", "/settings", change).await
    }

    /// Adds a fault on withdrawals and says its id.
    pub(crate) async fn fault(&self, mut rule: Value) -> String {
        if rule["path"].is_null() {
            rule["path"] = json!(APPLY);
        }
        let added = self.admin("POST", "/faults", rule).await;
        added["fault_id"].as_str().unwrap().to_owned()
    }

    /// What the exchange itself knows of a client's id.
    pub(crate) async fn records(&self, client_id: &str) -> Vec<Value> {
        let target = format!("/withdrawals?client_id={client_id}");
        let records = self.admin("GET", &target, Value::Null).await;
        records.as_array().unwrap().clone()
    }

    /// The newest line of the request log for a client's id.
    pub(crate) async fn logged(&self, client_id: &str) -> Value {
        let target = format!("/requests?client_id={client_id}&path={APPLY}");
        let entries = self.admin("GET", &target, Value::Null).await;
        entries.as_array().unwrap().last().cloned().unwrap_or_default()
    }
}

impl Drop for Sim {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.state));
    }
}

pub(crate) fn config(state: &std::path::Path) -> Config {
    let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
    Config {
        listen: anywhere,
        admin_listen: anywhere,
        state: state.to_owned(),
        api_key: KEY.to_owned(),
        api_secret: SECRET.to_owned(),
    }
}

/// A good withdrawal: 100 USDT, fee 2.5.
pub(crate) fn usdt(client_id: &str) -> [(&str, &str); 5] {
    [("coin", "USDT"), ("network", "ETH"), ("address", ETH_ADDRESS), ("amount", "100"), ("withdrawOrderId", client_id)]
}
