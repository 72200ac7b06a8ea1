//! What the program is told by flags and environment.

use std::{path::PathBuf, str::FromStr};

use anyhow::Result;
use backstop_activities::{books::Patience, outbox::PublisherSettings};
use clap::Args;
use reqwest::Url;
use secrecy::SecretString;
use sqlx::postgres::PgConnectOptions;

use crate::venues::{CLOCK_SKEW_MS, RECEIVE_WINDOW_MS, SHARED_SPAN_S, TURN_WAIT_MS, VISIBILITY_LAG_MS, millis};

/// The settings of `backstop worker`.
#[derive(Args, Clone, Debug)]
pub struct WorkerConfig {
    /// Temporal's gRPC endpoint
    #[arg(long, env = "TEMPORAL_ADDRESS", default_value = "http://127.0.0.1:7233")]
    pub temporal_address: String,
    /// Temporal's namespace
    #[arg(long, env = "TEMPORAL_NAMESPACE", default_value = "default")]
    pub temporal_namespace: String,
    /// The books, as a login that holds the role `backstop_worker`
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    pub database_url: String,
    /// Connections to the books
    #[arg(long, env = "BACKSTOP_DATABASE_CONNECTIONS", default_value_t = 16)]
    pub database_connections: u32,
    /// The main task queue; a prefix is allowed, as in `blue.backstop`
    #[arg(long, env = "BACKSTOP_TASK_QUEUE", default_value = backstop_workflows::MAIN_QUEUE)]
    pub task_queue: String,
    #[command(flatten)]
    pub venue: VenueConfig,
    #[command(flatten)]
    pub publish: PublishConfig,
    /// How often the venue's records are read for deposits and ended payouts, and lost workflows are looked for, ms;
    /// 0 leaves it to other workers
    #[arg(long, env = "BACKSTOP_WATCH_EVERY_MS", default_value_t = 15_000, value_parser = clap::value_parser!(u32).range(0..=3_600_000))]
    pub watch_every_ms: u32,
    /// How long an operation may stand still before its workflow is looked for, ms
    #[arg(long, env = "BACKSTOP_ADOPT_AFTER_MS", default_value_t = 30_000)]
    pub adopt_after_ms: u32,
    /// Written once the worker serves, with its process id
    #[arg(long, env = "BACKSTOP_READY_FILE")]
    pub ready_file: Option<PathBuf>,
    /// Where failpoints are armed (debug builds only)
    #[arg(long, env = "BACKSTOP_FAILPOINTS", hide = true)]
    pub failpoints: Option<PathBuf>,
}

/// The venue that this worker serves, or several. Without an address and names it serves none.
#[derive(Args, Clone, Debug)]
pub struct VenueConfig {
    /// Several venues, by their names, separated by commas. Each has its address and account in `BACKSTOP_VENUE_<NAME>_URL`,
    /// `_KEY` and `_SECRET` (the name in capitals, '-' as '_'), and what the other options say unless `BACKSTOP_VENUE_<NAME>_…`
    /// says otherwise
    #[arg(long, env = "BACKSTOP_VENUES", value_delimiter = ',')]
    pub venues: Vec<String>,
    /// The venue's name, as the books' `networks` name it
    #[arg(long, env = "BACKSTOP_VENUE_NAME", default_value = "binance")]
    pub venue_name: String,
    /// The venue's REST endpoint
    #[arg(long, env = "BACKSTOP_VENUE_URL")]
    pub venue_url: Option<Url>,
    /// The API key
    #[arg(long, env = "BACKSTOP_VENUE_KEY", hide_env_values = true, default_value = "")]
    pub venue_key: String,
    /// Its secret
    #[arg(long, env = "BACKSTOP_VENUE_SECRET", hide_env_values = true, default_value = "")]
    pub venue_secret: String,
    /// How long after its timestamp the venue accepts a request, ms
    #[arg(long, env = "BACKSTOP_VENUE_RECEIVE_WINDOW_MS", default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(RECEIVE_WINDOW_MS))]
    pub venue_receive_window_ms: u32,
    /// How much the venue's clock may differ from the books', and how far the books' may jump in a failover, ms
    #[arg(long, env = "BACKSTOP_VENUE_CLOCK_SKEW_MS", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(CLOCK_SKEW_MS))]
    pub venue_clock_skew_ms: u32,
    /// How long an executed withdrawal may be missing from the venue's history, ms
    #[arg(long, env = "BACKSTOP_VENUE_VISIBILITY_LAG_MS", default_value_t = 60_000, value_parser = clap::value_parser!(u32).range(VISIBILITY_LAG_MS))]
    pub venue_visibility_lag_ms: u32,
    /// How long an answer is waited for, ms
    #[arg(long, env = "BACKSTOP_VENUE_ANSWER_TIMEOUT_MS", default_value_t = 10_000)]
    pub venue_answer_timeout_ms: u32,
    /// The longest pause between two lookups of one payout, ms
    #[arg(long, env = "BACKSTOP_VENUE_POLL_MAX_MS", default_value_t = 10_000)]
    pub venue_poll_max_ms: u32,
    /// How long a call waits for its turn here before its activity steps aside and comes again, ms
    #[arg(long, env = "BACKSTOP_VENUE_TURN_WAIT_MS", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(TURN_WAIT_MS))]
    pub venue_turn_wait_ms: u32,
    /// Up to which age, counted from their first attempt, payouts are looked up together, s
    #[arg(long, env = "BACKSTOP_VENUE_SHARED_SPAN_S", default_value_t = 21_600, value_parser = clap::value_parser!(u32).range(SHARED_SPAN_S))]
    pub venue_shared_span_s: u32,
}

/// How this worker publishes events.
#[derive(Args, Clone, Debug)]
pub struct PublishConfig {
    /// How often it is looked for new events to publish, ms; 0 leaves it to other workers
    #[arg(long, env = "BACKSTOP_PUBLISH_EVERY_MS", default_value_t = 500, value_parser = clap::value_parser!(u32).range(0..=3_600_000))]
    pub publish_every_ms: u32,
    /// How long an endpoint's answer is waited for, ms
    #[arg(long, env = "BACKSTOP_PUBLISH_ANSWER_TIMEOUT_MS", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=600_000))]
    pub publish_answer_timeout_ms: u32,
    /// The first pause after an event was not taken, ms; each that follows is twice as long, up to an hour
    #[arg(long, env = "BACKSTOP_PUBLISH_PAUSE_MS", default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(1..=3_600_000))]
    pub publish_pause_ms: u32,
    /// After how many answers that an event is not taken its aggregate waits for an operator
    #[arg(long, env = "BACKSTOP_PUBLISH_ATTEMPTS", default_value_t = 12, value_parser = clap::value_parser!(i32).range(1..=1_000))]
    pub publish_attempts: i32,
    /// What events name as their source; a URI or a part of one
    #[arg(long, env = "BACKSTOP_EVENT_SOURCE", default_value = "/backstop", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub event_source: String,
}

impl PublishConfig {
    /// How it publishes; `None` if it does not.
    pub fn settings(&self) -> Option<PublisherSettings> {
        (self.publish_every_ms > 0).then(|| PublisherSettings {
            every: millis(self.publish_every_ms),
            answer_timeout: millis(self.publish_answer_timeout_ms),
            patience: Patience { pause: millis(self.publish_pause_ms), attempts_max: self.publish_attempts },
            source: self.event_source.clone(),
            secret_of: webhook_secret,
        })
    }
}

/// The environment's variable that holds the secret of one endpoint.
pub fn webhook_secret_name(endpoint: &str) -> String {
    format!("{WEBHOOK_SECRET}_{}", endpoint.to_ascii_uppercase().replace('-', "_"))
}

/// The one that holds the secret of all that have none of their own.
pub const WEBHOOK_SECRET: &str = "BACKSTOP_WEBHOOK_SECRET";

fn webhook_secret(endpoint: &str) -> Option<SecretString> {
    let own = std::env::var(webhook_secret_name(endpoint));
    own.or_else(|_| std::env::var(WEBHOOK_SECRET)).ok().map(SecretString::from)
}

/// Reads a database URL.
///
/// # Errors
/// When it is none.
pub fn database(url: &str) -> Result<PgConnectOptions> {
    // The URL may hold a password, so that only its form is reported.
    PgConnectOptions::from_str(url)
        .map_err(|_| anyhow::anyhow!("DATABASE_URL: expected postgres://user@host:port/name"))
}
