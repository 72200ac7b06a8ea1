mod spot;

use std::time::Duration;

use backstop_domain::Amount;
use futures::{FutureExt, future::BoxFuture};
use hmac::{Hmac, KeyInit, Mac};
use reqwest::{Method, Response, StatusCode, Url, header};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use sha2::Sha256;

use super::{LookupFailed, PayoutVenue, RecordState, SendOutcome, Withdrawal, WithdrawalRecord};

/// Where a Binance account is, and with which key.
#[derive(Clone, Debug)]
pub struct BinanceConfig {
    /// The REST endpoint: the real one, the testnet's, or a simulator's.
    pub base_url: Url,
    /// The API key.
    pub api_key: String,
    /// Its secret.
    pub api_secret: SecretString,
    /// How long after its timestamp the venue accepts a request (`recvWindow`).
    pub receive_window: Duration,
    /// How long an answer is waited for.
    pub answer_timeout: Duration,
}

/// The Binance Spot and Wallet REST dialect.
#[derive(Clone, Debug)]
pub struct Binance {
    http: reqwest::Client,
    config: BinanceConfig,
}

const APPLY: &str = "sapi/v1/capital/withdraw/apply";
const HISTORY: &str = "sapi/v1/capital/withdraw/history";
/// With a client id, the history answers at most 7 days at once (Wallet API, "Withdraw History").
const HISTORY_SPAN_MS: i64 = 7 * 24 * 3_600_000 - 1;
/// The longest ban that Binance gives (REST API, "IP Limits").
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3 * 24 * 3_600);
const HISTORY_ROWS_MAX: usize = 1_000;

/// The codes of `withdraw/apply` that mean "refused, and nothing happened": authorization, malformed parameters, and the
/// checks Binance makes before it takes a withdrawal (unknown or closed coin, amount, balance). Closed on purpose: any
/// other code is an unknown outcome.
const REJECTIONS: &[i64] = &[
    -1002, -1022, -1100, -1101, -1102, -1103, -1104, -1105, -1106, -1111, -2014, -2015, -4008, -4018, -4019, -4021,
    -4022, -4023, -4024, -4025, -4026, -4033,
];
/// The timestamp was outside the receive window: refused before anything happened, and right again with a fresh one.
const OUT_OF_WINDOW: i64 = -1021;

#[derive(Deserialize)]
struct ErrorBody {
    code: i64,
    msg: String,
}

#[derive(Deserialize)]
struct Applied {
    id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct HistoryRow {
    id: String,
    amount: String,
    transaction_fee: String,
    status: u8,
    #[serde(default)]
    tx_id: Option<String>,
    #[serde(default)]
    withdraw_order_id: Option<String>,
    #[serde(default)]
    info: Option<String>,
}

impl Binance {
    /// Makes a client.
    ///
    /// # Errors
    /// When the TLS backend can't be set up.
    pub fn new(config: BinanceConfig) -> Result<Self, reqwest::Error> {
        // A fresh connection for every request, nothing repeated and nothing followed behind our back: "could not
        // connect" then proves that the request was not sent.
        let http = reqwest::Client::builder()
            .pool_max_idle_per_host(0)
            .retry(reqwest::retry::never())
            .redirect(reqwest::redirect::Policy::none())
            .timeout(config.answer_timeout)
            .build()?;
        Ok(Self { http, config })
    }

    async fn signed(
        &self,
        method: Method,
        path: &str,
        parameters: &[(&str, &str)],
        signed_at_ms: i64,
    ) -> Result<Response, reqwest::Error> {
        let mut url = self.config.base_url.clone();
        url.set_path(path);
        url.query_pairs_mut()
            .extend_pairs(parameters)
            .append_pair("recvWindow", &self.config.receive_window.as_millis().to_string())
            .append_pair("timestamp", &signed_at_ms.to_string());
        let signature = self.signature(url.query().unwrap_or_default());
        url.query_pairs_mut().append_pair("signature", &signature);
        self.http.request(method, url).header("X-MBX-APIKEY", &self.config.api_key).send().await
    }

    fn signature(&self, query: &str) -> String {
        let secret = self.config.api_secret.expose_secret().as_bytes();
        #[allow(clippy::expect_used)]
        let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes keys of any length");
        mac.update(query.as_bytes());
        mac.finalize().into_bytes().iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
    }

    async fn history_page(
        &self,
        client_id: &str,
        from_ms: i64,
        until_ms: i64,
        now_ms: i64,
    ) -> Result<Vec<WithdrawalRecord>, LookupFailed> {
        let (start, end) = (from_ms.to_string(), until_ms.to_string());
        let parameters = [("withdrawOrderId", client_id), ("startTime", &start), ("endTime", &end)];
        let answer = self.signed(Method::GET, HISTORY, &parameters, now_ms).await;
        let answer = answer.map_err(|error| LookupFailed { reason: describe(&error), after: None })?;
        let (status, after) = (answer.status(), retry_after(&answer));
        let body = answer.bytes().await.map_err(|error| LookupFailed { reason: describe(&error), after })?;
        if status != StatusCode::OK {
            return Err(LookupFailed { reason: refusal_text(status, &body), after });
        }
        let unreadable = |what: String| LookupFailed { reason: format!("unreadable history: {what}"), after: None };
        let rows: Vec<HistoryRow> = serde_json::from_slice(&body).map_err(|error| unreadable(error.to_string()))?;
        if rows.len() >= HISTORY_ROWS_MAX {
            return Err(unreadable(format!("{} rows for one client id", rows.len())));
        }
        let ours = rows.into_iter().filter(|row| row.withdraw_order_id.as_deref() == Some(client_id));
        ours.map(|row| read_row(row).map_err(unreadable)).collect()
    }
}

impl PayoutVenue for Binance {
    fn submit<'a>(&'a self, withdrawal: Withdrawal<'a>, signed_at_ms: i64) -> BoxFuture<'a, SendOutcome> {
        async move {
            let mut parameters = vec![
                ("coin", withdrawal.asset),
                ("withdrawOrderId", withdrawal.client_id),
                ("network", withdrawal.network),
                ("address", withdrawal.address),
                ("amount", withdrawal.amount),
            ];
            parameters.extend(withdrawal.tag.map(|tag| ("addressTag", tag)));
            match self.signed(Method::POST, APPLY, &parameters, signed_at_ms).await {
                Err(error) if error.is_connect() => SendOutcome::NotSent { reason: describe(&error), after: None },
                Err(error) => SendOutcome::Unknown(describe(&error)),
                Ok(answer) => read_applied(answer).await,
            }
        }
        .boxed()
    }

    fn withdrawals<'a>(
        &'a self,
        client_id: &'a str,
        from_ms: i64,
        until_ms: i64,
        now_ms: i64,
    ) -> BoxFuture<'a, Result<Vec<WithdrawalRecord>, LookupFailed>> {
        async move {
            if from_ms > until_ms {
                return Err(LookupFailed { reason: "no time to look at".into(), after: None });
            }
            let mut found = Vec::new();
            let mut start = from_ms;
            while start <= until_ms {
                let end = until_ms.min(start + HISTORY_SPAN_MS);
                found.extend(self.history_page(client_id, start, end, now_ms).await?);
                start = end + 1;
            }
            Ok(found)
        }
        .boxed()
    }
}

async fn read_applied(answer: Response) -> SendOutcome {
    let refused = |error: &ErrorBody| REJECTIONS.contains(&error.code);
    read_sent(answer, refused, |body| match serde_json::from_slice::<Applied>(body) {
        Ok(applied) if applied.id.is_empty() => Err("the answer names no withdrawal".into()),
        Ok(applied) => Ok(applied.id),
        Err(error) => Err(format!("unreadable answer: {error}")),
    })
    .await
}

/// What an answer to a request that changes something means: `refused` knows the codes for "nothing happened", and
/// `read_id` finds the venue's id in a success.
async fn read_sent(
    answer: Response,
    refused: impl Fn(&ErrorBody) -> bool,
    read_id: impl Fn(&[u8]) -> Result<String, String>,
) -> SendOutcome {
    let (status, after) = (answer.status(), retry_after(&answer));
    // 429: over the rate limit; 418: banned for ignoring it. Both are turned away at the door (REST API, "Limits").
    if matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::IM_A_TEAPOT) {
        return SendOutcome::NotSent { reason: format!("HTTP {status}"), after };
    }
    let body = match answer.bytes().await {
        Ok(body) => body,
        Err(error) => return SendOutcome::Unknown(describe(&error)),
    };
    if status == StatusCode::OK {
        return read_id(&body).map_or_else(SendOutcome::Unknown, SendOutcome::Done);
    }
    let reason = refusal_text(status, &body);
    let of_the_venue = matches!(status, StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED);
    match serde_json::from_slice::<ErrorBody>(&body) {
        Ok(error) if of_the_venue && error.code == OUT_OF_WINDOW => SendOutcome::NotSent { reason, after: None },
        Ok(error) if of_the_venue && refused(&error) => SendOutcome::Rejected(reason),
        _ => SendOutcome::Unknown(reason),
    }
}

fn refusal_text(status: StatusCode, body: &[u8]) -> String {
    match serde_json::from_slice::<ErrorBody>(body) {
        Ok(error) => format!("HTTP {status}, {}: {}", error.code, error.msg),
        Err(_) => format!("HTTP {status}"),
    }
}

fn read_row(row: HistoryRow) -> Result<WithdrawalRecord, String> {
    // Wallet API, "Withdraw History": 0 email sent, 1 cancelled, 2 awaiting approval, 3 rejected, 4 processing,
    // 5 failure, 6 completed.
    let state = match row.status {
        0 | 2 | 4 => RecordState::Pending,
        6 => RecordState::Completed,
        1 | 3 | 5 => RecordState::Failed,
        other => return Err(format!("status {other} of withdrawal {}", row.id)),
    };
    for amount in [&row.amount, &row.transaction_fee] {
        Amount::parse_part(amount).map_err(|_| format!("amount {amount:?} of withdrawal {}", row.id))?;
    }
    Ok(WithdrawalRecord {
        id: row.id,
        state,
        received: row.amount,
        network_fee: row.transaction_fee,
        tx_id: row.tx_id.filter(|id| !id.is_empty()),
        info: row.info.unwrap_or_default(),
    })
}

fn retry_after(answer: &Response) -> Option<Duration> {
    let seconds: u64 = answer.headers().get(header::RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds).min(RETRY_AFTER_MAX))
}

/// The error with its causes, but without the URL: it carries a signature.
fn describe(error: &reqwest::Error) -> String {
    let mut text = if error.is_connect() {
        "could not connect".to_owned()
    } else if error.is_timeout() {
        "no answer in time".to_owned()
    } else {
        "the connection was lost".to_owned()
    };
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
