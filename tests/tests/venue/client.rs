//! The client under test, watched: every call has a deadline, and no text of an error may give anything away.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use backstop_activities::{
    pacing::Unpaced,
    venue::{
        Binance, BinanceConfig, DepositListing, DepositRecord, LookupFailed, PayoutVenue, SendOutcome, Withdrawal,
        WithdrawalRecord,
    },
};
use tokio::time::timeout;

pub(crate) const KEY: &str = "key-for-tests";
pub(crate) const SECRET: &str = "secret-for-tests";
pub(crate) const APPLY: &str = "/sapi/v1/capital/withdraw/apply";
pub(crate) const HISTORY: &str = "/sapi/v1/capital/withdraw/history";
pub(crate) const DEPOSITS: &str = "/sapi/v1/capital/deposit/hisrec";
pub(crate) const BTC_ADDRESS: &str = "bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq";
pub(crate) const TRX_ADDRESS: &str = "TXYZopYRdj2D9XRtbG411XZZ3kM5VkAeBf";
pub(crate) const XRP_ADDRESS: &str = "rEb8TK3gBgk5auZkwc6sHnwrGVJH8DuaLh";
pub(crate) const DAY_MS: i64 = 24 * 3_600_000;

/// How long anything may take before a test gives up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// Long enough for a request to arrive on a busy machine, for the tests in which no answer ever comes.
pub(crate) const SHORT: Duration = Duration::from_secs(1);

pub(crate) struct Client {
    pub(crate) binance: Binance,
    base_url: String,
}

/// The settings that most tests use.
pub(crate) fn config(base_url: &str) -> BinanceConfig {
    BinanceConfig {
        base_url: base_url.parse().unwrap(),
        api_key: KEY.into(),
        api_secret: SECRET.into(),
        receive_window: Duration::from_secs(5),
        answer_timeout: PATIENCE,
    }
}

impl Client {
    pub(crate) fn of(base_url: &str) -> Self {
        Self::with(config(base_url))
    }

    /// One that gives up on an answer soon.
    pub(crate) fn hasty(base_url: &str) -> Self {
        Self::with(BinanceConfig { answer_timeout: SHORT, ..config(base_url) })
    }

    pub(crate) fn with(config: BinanceConfig) -> Self {
        tls();
        let base_url = config.base_url.to_string();
        Self { binance: Binance::new(config, Arc::new(Unpaced)).unwrap(), base_url }
    }

    /// Submits, signed now.
    pub(crate) async fn submit(&self, withdrawal: Withdrawal<'_>) -> SendOutcome {
        self.submit_signed(withdrawal, now_ms()).await
    }

    pub(crate) async fn submit_signed(&self, withdrawal: Withdrawal<'_>, signed_at_ms: i64) -> SendOutcome {
        let outcome = timeout(PATIENCE * 2, self.binance.submit(withdrawal, signed_at_ms)).await.unwrap();
        match &outcome {
            SendOutcome::Done(_) => {}
            SendOutcome::Rejected(reason) | SendOutcome::NotSent { reason, .. } | SendOutcome::Unknown(reason) => {
                self.discreet(reason);
            }
        }
        outcome
    }

    /// Looks up the last day.
    pub(crate) async fn look_up(&self, client_id: &str) -> Result<Vec<WithdrawalRecord>, LookupFailed> {
        let now = now_ms();
        self.look_up_between(client_id, now - DAY_MS, now + 1_000).await
    }

    pub(crate) async fn look_up_between(
        &self,
        client_id: &str,
        from_ms: i64,
        until_ms: i64,
    ) -> Result<Vec<WithdrawalRecord>, LookupFailed> {
        self.found(self.binance.withdrawals(client_id, from_ms, until_ms, now_ms())).await
    }

    /// Every withdrawal of the account.
    pub(crate) async fn history(&self, from_ms: i64, until_ms: i64) -> Result<Vec<WithdrawalRecord>, LookupFailed> {
        self.found(self.binance.history(from_ms, until_ms, now_ms())).await
    }

    /// Every deposit to the account, each of which can be read.
    pub(crate) async fn deposits(&self, from_ms: i64, until_ms: i64) -> Result<Vec<DepositRecord>, LookupFailed> {
        let listing = self.listed_deposits(from_ms, until_ms).await?;
        assert_eq!(listing.unreadable, []);
        Ok(listing.records)
    }

    /// Every deposit to the account, readable or not.
    pub(crate) async fn listed_deposits(&self, from_ms: i64, until_ms: i64) -> Result<DepositListing, LookupFailed> {
        self.found(self.binance.deposits(from_ms, until_ms, now_ms())).await
    }

    async fn found<T>(&self, asked: impl Future<Output = Result<T, LookupFailed>>) -> Result<T, LookupFailed> {
        let found = timeout(PATIENCE * 2, asked).await.unwrap();
        if let Err(failed) = &found {
            self.discreet(&failed.reason);
            assert_eq!(failed.to_string(), failed.reason);
        }
        found
    }

    /// Texts of errors go into the books and the logs, where a signed URL or a key must not be.
    pub(crate) fn discreet(&self, text: &str) {
        let hidden =
            [KEY, SECRET, &self.base_url, "://", "sapi/v1", "api/v3", "signature=", "timestamp=", "recvWindow="];
        assert!(!text.is_empty());
        for hidden in hidden {
            assert!(!text.contains(hidden), "{hidden:?} is in {text:?}");
        }
    }
}

/// A withdrawal that the paper exchange takes.
pub(crate) fn bitcoin(client_id: &str) -> Withdrawal<'_> {
    Withdrawal { client_id, asset: "BTC", amount: "0.5", network: "BTC", address: BTC_ADDRESS, tag: None }
}

/// The backend of TLS, chosen once for the whole process.
pub(crate) fn tls() {
    static CHOSEN: std::sync::Once = std::sync::Once::new();
    CHOSEN.call_once(|| rustls::crypto::ring::default_provider().install_default().unwrap());
}

pub(crate) fn now_ms() -> i64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(since_1970.as_millis()).unwrap()
}

/// Asks again until there is something, or patience ends.
pub(crate) async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    let mut again = tokio::time::interval(Duration::from_millis(5));
    loop {
        again.tick().await;
        if let Some(found) = ask().await {
            return found;
        }
        assert!(Instant::now() < deadline, "never: {what}");
    }
}

#[track_caller]
pub(crate) fn rejected(outcome: SendOutcome) -> String {
    let SendOutcome::Rejected(reason) = outcome else { panic!("not a rejection: {outcome:?}") };
    reason
}

#[track_caller]
pub(crate) fn unknown(outcome: SendOutcome) -> String {
    let SendOutcome::Unknown(reason) = outcome else { panic!("taken for a known outcome: {outcome:?}") };
    reason
}

#[track_caller]
pub(crate) fn not_sent(outcome: SendOutcome) -> (String, Option<Duration>) {
    let SendOutcome::NotSent { reason, after } = outcome else { panic!("not NotSent: {outcome:?}") };
    (reason, after)
}
