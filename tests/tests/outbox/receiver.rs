//! A webhook receiver that writes down what it gets, and fails on demand.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant, SystemTime},
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::post,
};
use backstop_activities::outbox::{ID_HEADER, SIGNATURE_HEADER, TIMESTAMP_HEADER};
use serde_json::Value;
use tokio::net::TcpListener;

/// A request, and how it was answered.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) at: Instant,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
    pub(crate) event: Value,
    /// 0 while it is not answered, and for ever if the sender did not wait for that.
    pub(crate) status: u16,
}

/// For how many seconds a receiver wants to be left alone, and how it says so.
#[derive(Clone, Copy, Debug)]
pub(crate) enum RetryAfter {
    Seconds(u64),
    Date(u64),
}

impl RetryAfter {
    fn header(self) -> String {
        match self {
            Self::Seconds(seconds) => seconds.to_string(),
            // Whole seconds, of which the present one has begun.
            Self::Date(seconds) => httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(seconds + 1)),
        }
    }
}

/// The next events whose id or subject is this, or any if it is empty, are answered so, so often.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    pub(crate) of: String,
    pub(crate) times: usize,
    /// 0: never.
    pub(crate) status: u16,
    pub(crate) retry_after: Option<RetryAfter>,
}

#[derive(Default)]
struct Kept {
    received: Vec<Received>,
    rules: Vec<Rule>,
    slow: bool,
}

/// Listens as long as it lives.
pub(crate) struct Receiver {
    kept: Arc<Mutex<Kept>>,
    address: SocketAddr,
    server: tokio::task::JoinHandle<()>,
}

impl Received {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }

    pub(crate) fn id(&self) -> &str {
        self.event["id"].as_str().unwrap()
    }

    pub(crate) fn subject(&self) -> &str {
        self.event["subject"].as_str().unwrap()
    }

    pub(crate) fn accepted(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// Id, timestamp and signature, as the headers say.
    pub(crate) fn signed(&self) -> (&str, &str, &str) {
        (self.header(ID_HEADER), self.header(TIMESTAMP_HEADER), self.header(SIGNATURE_HEADER))
    }
}

impl Receiver {
    pub(crate) async fn start() -> Self {
        Self::start_at(0).await
    }

    pub(crate) async fn start_at(port: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let kept = Arc::<Mutex<Kept>>::default();
        let router = Router::new().route("/hook", post(take)).with_state(kept.clone());
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { kept, address, server }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    pub(crate) fn received(&self) -> Vec<Received> {
        self.kept.lock().unwrap().received.clone()
    }

    /// Everything that came of this id or subject.
    pub(crate) fn received_of(&self, of: &str) -> Vec<Received> {
        self.received().into_iter().filter(|one| one.id() == of || one.subject() == of).collect()
    }

    pub(crate) fn answer(&self, of: &str, times: usize, status: u16, retry_after: Option<RetryAfter>) {
        self.kept.lock().unwrap().rules.push(Rule { of: of.into(), times, status, retry_after });
    }

    /// Takes everything again.
    pub(crate) fn relent(&self) {
        self.kept.lock().unwrap().rules.clear();
    }

    /// Takes its time over each, another for every one.
    pub(crate) fn dawdle(&self) {
        self.kept.lock().unwrap().slow = true;
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn take(State(kept): State<Arc<Mutex<Kept>>>, headers: HeaderMap, body: Bytes) -> Response {
    let event: Value = serde_json::from_slice(&body).unwrap();
    let (number, rule, slow) = {
        let mut kept = kept.lock().unwrap();
        let named = [event["id"].as_str().unwrap().to_owned(), event["subject"].as_str().unwrap().to_owned()];
        let rule =
            kept.rules.iter_mut().find(|rule| rule.times > 0 && (rule.of.is_empty() || named.contains(&rule.of)));
        let rule = rule.map(|rule| {
            rule.times -= 1;
            rule.clone()
        });
        kept.received.push(Received { at: Instant::now(), headers, body: body.to_vec(), event, status: 0 });
        (kept.received.len() - 1, rule, kept.slow)
    };
    if slow {
        tokio::time::sleep(Duration::from_millis(number as u64 * 7 % 20)).await;
    }
    let (status, retry_after) = rule.map_or((204, None), |rule| (rule.status, rule.retry_after));
    if status == 0 {
        std::future::pending::<()>().await;
    }
    kept.lock().unwrap().received[number].status = status;
    let status = StatusCode::from_u16(status).unwrap();
    match retry_after {
        Some(after) => (status, [(header::RETRY_AFTER, after.header())]).into_response(),
        None => status.into_response(),
    }
}
