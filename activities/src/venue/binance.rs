mod account;
mod history;
mod market;
mod spot;

use std::{sync::Arc, time::Duration};

use futures::{FutureExt, future::BoxFuture};
use hmac::{Hmac, KeyInit, Mac};
use reqwest::{Method, Response, StatusCode, Url, header};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use sha2::Sha256;

use super::{DepositListing, LookupFailed, PayoutVenue, SendOutcome, Withdrawal, WithdrawalRecord};
use crate::{books::Priority, pacing::Pacer};

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
    pacer: Arc<dyn Pacer>,
}

const APPLY: &str = "sapi/v1/capital/withdraw/apply";
/// The longest ban that Binance gives (REST API, "IP Limits").
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3 * 24 * 3_600);

/// The codes of `withdraw/apply` that mean "refused, and nothing happened": authorization, malformed parameters, and the
/// checks Binance makes before it takes a withdrawal (unknown or closed coin, amount, balance). Closed on purpose: any
/// other code is an unknown outcome.
const REJECTIONS: &[i64] = &[
    -1002, -1022, -1100, -1101, -1102, -1103, -1104, -1105, -1106, -1111, -2014, -2015, -4008, -4018, -4019, -4021,
    -4022, -4023, -4024, -4025, -4026, -4033,
];
/// The timestamp was outside the receive window: refused before anything happened, and right again with a fresh one.
const OUT_OF_WINDOW: i64 = -1021;

/// Status, `Retry-After` and body of an answer.
type Answer = (StatusCode, Option<Duration>, Vec<u8>);

#[derive(Deserialize)]
struct ErrorBody {
    code: i64,
    msg: String,
}

#[derive(Deserialize)]
struct Applied {
    id: String,
}

impl Binance {
    /// Makes a client. Lookups and cancels take their turns from `pacer`; who submits or places brings a slot along.
    ///
    /// # Errors
    /// When the TLS backend can't be set up.
    pub fn new(config: BinanceConfig, pacer: Arc<dyn Pacer>) -> Result<Self, reqwest::Error> {
        // A fresh connection for every request, nothing repeated and nothing followed behind our back: "could not
        // connect" then proves that the request was not sent.
        let http = reqwest::Client::builder()
            .pool_max_idle_per_host(0)
            .retry(reqwest::retry::never())
            .redirect(reqwest::redirect::Policy::none())
            .timeout(config.answer_timeout)
            .build()?;
        Ok(Self { http, config, pacer })
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
        let answer = self.http.request(method, url).header("X-MBX-APIKEY", &self.config.api_key).send().await?;
        if turned_away(answer.status()) {
            self.pacer.back_off(retry_after(&answer), &format!("HTTP {}", answer.status())).await;
        }
        Ok(answer)
    }

    /// Asks for what changes nothing, in a slot of its own, and reads the answer to its end. Each page of a listing waits
    /// for its turn, and is signed with the time of that.
    async fn look_up(&self, path: &str, parameters: &[(&str, &str)], now_ms: i64) -> Result<Answer, LookupFailed> {
        self.look_up_in_turn(path, parameters, now_ms, Priority::Look).await
    }

    async fn look_up_in_turn(
        &self,
        path: &str,
        parameters: &[(&str, &str)],
        now_ms: i64,
        priority: Priority,
    ) -> Result<Answer, LookupFailed> {
        let signed_at_ms = self.pacer.turn(priority, now_ms).await?;
        let answer = self.signed(Method::GET, path, parameters, signed_at_ms).await;
        let answer = answer.map_err(|error| LookupFailed { reason: describe(&error), after: None })?;
        let (status, after) = (answer.status(), retry_after(&answer));
        let body = answer.bytes().await.map_err(|error| LookupFailed { reason: describe(&error), after })?;
        Ok((status, after, body.to_vec()))
    }

    fn signature(&self, query: &str) -> String {
        let secret = self.config.api_secret.expose_secret().as_bytes();
        #[allow(clippy::expect_used)]
        let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes keys of any length");
        mac.update(query.as_bytes());
        mac.finalize().into_bytes().iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
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
        self.withdrawals_of(client_id, from_ms, until_ms, now_ms).boxed()
    }

    fn history(
        &self,
        from_ms: i64,
        until_ms: i64,
        now_ms: i64,
    ) -> BoxFuture<'_, Result<Vec<WithdrawalRecord>, LookupFailed>> {
        self.every_withdrawal(from_ms, until_ms, now_ms).boxed()
    }

    fn deposits(
        &self,
        from_ms: i64,
        until_ms: i64,
        now_ms: i64,
    ) -> BoxFuture<'_, Result<DepositListing, LookupFailed>> {
        self.every_deposit(from_ms, until_ms, now_ms).boxed()
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
    if turned_away(status) {
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

/// 429: over the rate limit; 418: banned for ignoring it. Both are turned away at the door (REST API, "Limits").
fn turned_away(status: StatusCode) -> bool {
    matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::IM_A_TEAPOT)
}

fn refusal_text(status: StatusCode, body: &[u8]) -> String {
    match serde_json::from_slice::<ErrorBody>(body) {
        Ok(error) => format!("HTTP {status}, {}: {}", error.code, error.msg),
        Err(_) => format!("HTTP {status}"),
    }
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
