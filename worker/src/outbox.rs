//! `backstop outbox`: the endpoints that events are published to, how far behind they are, and an operator's word on what
//! they have not taken.

use std::fmt::Write;

use anyhow::{Result, ensure};
use backstop_activities::books::{Behind, Endpoint, Lag};
use clap::{Args, Subcommand};

use crate::{
    config::{WEBHOOK_SECRET, webhook_secret_name},
    operate::{BooksAddress, Word},
};

/// How many streams a list shows.
const LIST_MAX: i64 = 200;

/// The commands of `backstop outbox`.
#[derive(Subcommand)]
pub enum OutboxCommand {
    /// Show how far behind each endpoint is
    Status(BooksAddress),
    /// Show what has not been delivered yet, aggregate by aggregate
    List(List),
    /// Try again what was given up
    Redeliver(Decide),
    /// Pass over the event that was given up, and go on behind it
    Skip(Decide),
    /// The endpoints that get events
    #[command(subcommand)]
    Endpoint(EndpointCommand),
}

/// The commands of `backstop outbox endpoint`.
#[derive(Subcommand)]
pub enum EndpointCommand {
    /// Send events there from now on
    Add(Add),
    /// Send nothing there any more, and forget what it has not got
    Remove(Remove),
    /// Show where events are sent
    List(BooksAddress),
}

/// The settings of `backstop outbox list`.
#[derive(Args)]
pub struct List {
    /// Only what was given up and waits for an operator
    #[arg(long)]
    dead: bool,
    #[command(flatten)]
    books: BooksAddress,
}

/// The settings of `backstop outbox redeliver` and `skip`.
#[derive(Args)]
pub struct Decide {
    /// The endpoint that has not taken it
    #[arg(long)]
    endpoint: String,
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    word: Word,
    #[command(flatten)]
    books: BooksAddress,
}

/// Which dead deliveries are decided on.
#[derive(Args)]
#[group(required = true, multiple = false)]
pub struct Which {
    /// Whose event, as `list --dead` shows it
    #[arg(long)]
    aggregate: Option<String>,
    /// Whatever this endpoint has not taken
    #[arg(long)]
    all: bool,
}

/// The settings of `backstop outbox endpoint add`.
#[derive(Args)]
pub struct Add {
    /// Its name: lower-case letters, digits and dashes
    name: String,
    /// `http://…` or `https://…`, or `file:///…` for a file of JSON lines on the worker's machine
    url: String,
    /// Which kinds of events: `payout.settled`, `payout.*`, `entry.*` (the entries of the books); may be repeated; all, unless
    /// given
    #[arg(long = "kind", value_name = "KIND")]
    kinds: Vec<String>,
    /// All that there was before, too
    #[arg(long)]
    from_beginning: bool,
    #[command(flatten)]
    word: Word,
    #[command(flatten)]
    books: BooksAddress,
}

/// The settings of `backstop outbox endpoint remove`.
#[derive(Args)]
pub struct Remove {
    /// Its name
    name: String,
    #[command(flatten)]
    word: Word,
    #[command(flatten)]
    books: BooksAddress,
}

/// Does it, and says what came of it.
///
/// # Errors
/// When the books refuse, or can't be reached.
pub async fn run(command: OutboxCommand) -> Result<String> {
    match command {
        OutboxCommand::Status(books) => {
            let lags = books.connect().await?.outbox_lag().await?;
            told(lags.iter().map(lag), "no endpoint gets events")
        }
        OutboxCommand::List(options) => {
            let streams = options.books.connect().await?.streams_behind(options.dead, LIST_MAX).await?;
            told(streams.iter().map(behind), if options.dead { "nothing was given up" } else { "all is delivered" })
        }
        OutboxCommand::Redeliver(options) => decide(options, false).await,
        OutboxCommand::Skip(options) => decide(options, true).await,
        OutboxCommand::Endpoint(EndpointCommand::Add(options)) => add(options).await,
        OutboxCommand::Endpoint(EndpointCommand::Remove(options)) => {
            let books = options.books.connect().await?;
            let removed = books.endpoint_remove(&options.name, &options.word.by()?, &options.word.reason).await?;
            ensure!(removed, "name: there is no endpoint {}", options.name);
            Ok(format!("endpoint {} is removed, with what it has not got\n", options.name))
        }
        OutboxCommand::Endpoint(EndpointCommand::List(books)) => {
            let endpoints = books.connect().await?.endpoints().await?;
            told(endpoints.iter().map(shown), "no endpoint gets events")
        }
    }
}

async fn add(options: Add) -> Result<String> {
    let Add { name, url, kinds, from_beginning, word, books } = options;
    let endpoint = Endpoint { name, url, kinds, from_beginning };
    let new = books.connect().await?.endpoint_add(&endpoint, &word.by()?, &word.reason).await?;
    let since = if from_beginning { "from the beginning" } else { "from now on" };
    let mut text = if new {
        format!("endpoint {} gets events {since}\n", endpoint.name)
    } else {
        format!("endpoint {} was there before; nothing has changed\n", endpoint.name)
    };
    if !endpoint.url.starts_with("file:") {
        writeln!(
            text,
            "Workers sign what they send to it with {}, or with {WEBHOOK_SECRET}, from their environment, and send nothing \
             without.",
            webhook_secret_name(&endpoint.name)
        )?;
    }
    Ok(text)
}

async fn decide(options: Decide, skip: bool) -> Result<String> {
    let Decide { endpoint, which, word, books } = options;
    let (books, by) = (books.connect().await?, word.by()?);
    let events = books.delivery_decide(&endpoint, which.aggregate.as_deref(), skip, &by, &word.reason).await?;
    let what = if skip { "is passed over" } else { "is sent again" };
    told(events.iter().map(|event| format!("{event} {what}")), "nothing was given up")
}

/// A line each, or this one.
fn told(lines: impl Iterator<Item = String>, none: &str) -> Result<String> {
    let mut text = String::new();
    for line in lines {
        writeln!(text, "{line}")?;
    }
    Ok(if text.is_empty() { format!("{none}\n") } else { text })
}

fn lag(lag: &Lag) -> String {
    let Lag { endpoint, lag_ms, behind, dead, closed_ms, closed_why } = lag;
    let mut text = match behind {
        0 if *lag_ms == 0 => format!("{endpoint}: has everything"),
        _ => format!(
            "{endpoint}: the oldest event waits for {lag_ms} ms; {behind} aggregates are behind, {dead} of them dead"
        ),
    };
    if let (Some(ms), why) = (closed_ms, closed_why.as_deref().unwrap_or_default()) {
        text.extend(["; left alone for ", &ms.to_string(), " ms more (", why, ")"]);
    }
    text
}

fn behind(stream: &Behind) -> String {
    let Behind { endpoint, aggregate, attempts, last_error, dead_event, dead_since } = stream;
    let mut text = format!("{endpoint}: {aggregate}");
    if let (Some(event), Some(since)) = (dead_event, dead_since) {
        text.extend([", dead since ", since, " at event ", event]);
    }
    if let Some(error) = last_error {
        text.extend([", not taken ", &attempts.to_string(), " times, last: ", error]);
    }
    text
}

fn shown(endpoint: &Endpoint) -> String {
    let Endpoint { name, url, kinds, from_beginning } = endpoint;
    let since = if *from_beginning { ", from the beginning" } else { "" };
    format!("{name}: {url} ({}){since}", kinds.join(", "))
}
