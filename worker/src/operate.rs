//! `backstop halt`, `resume` and `pace`: what an operator says to the books.

use std::fmt::Write;

use anyhow::{Context, Result};
use backstop_activities::books::{Books, HaltScope};
use clap::{Args, value_parser};
use nix::unistd::{Uid, User};

use crate::config::database;

/// The books that are spoken to.
#[derive(Args, Clone, Debug)]
pub struct BooksAddress {
    /// The books, as a login that holds the role `backstop_worker`
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    database_url: String,
}

impl BooksAddress {
    pub(crate) async fn connect(&self) -> Result<Books> {
        Books::connect(database(&self.database_url)?, 1).await.context("connecting to the books")
    }
}

/// What is halted or resumed.
#[derive(Args, Clone, Debug)]
#[group(required = true, multiple = false)]
pub struct Scope {
    /// One venue
    #[arg(long)]
    venue: Option<String>,
    /// One strategy
    #[arg(long)]
    strategy: Option<String>,
    /// Everything
    #[arg(long)]
    all: bool,
}

impl Scope {
    fn of_books(self) -> HaltScope {
        match (self.venue, self.strategy) {
            (Some(venue), _) => HaltScope::Venue(venue),
            (_, Some(strategy)) => HaltScope::Strategy(strategy),
            _ => HaltScope::All,
        }
    }
}

/// Who decides, and why: it is recorded.
#[derive(Args, Clone, Debug)]
pub struct Word {
    /// Why
    #[arg(long)]
    pub(crate) reason: String,
    /// Who decides this; unless given, the name of the user who runs this program
    #[arg(long)]
    pub(crate) by: Option<String>,
}

impl Word {
    pub(crate) fn by(&self) -> Result<String> {
        if let Some(by) = &self.by {
            return Ok(by.clone());
        }
        let user = User::from_uid(Uid::current()).context("reading the user's name")?;
        Ok(user.context("this user has no name: say --by")?.name)
    }
}

/// The settings of `backstop halt`.
#[derive(Args, Clone, Debug)]
pub struct Halt {
    #[command(flatten)]
    scope: Scope,
    /// Halt payouts as well as orders
    #[arg(long, conflicts_with = "strategy")]
    payouts: bool,
    #[command(flatten)]
    word: Word,
    #[command(flatten)]
    books: BooksAddress,
}

/// The settings of `backstop resume`.
#[derive(Args, Clone, Debug)]
pub struct Resume {
    #[command(flatten)]
    scope: Scope,
    #[command(flatten)]
    word: Word,
    #[command(flatten)]
    books: BooksAddress,
}

/// The settings of `backstop pace`. Without any it shows the venues' paces.
#[derive(Args, Clone, Debug)]
pub struct SetPace {
    /// The venue, as the books name it
    #[arg(long, requires = "min_interval_ms")]
    venue: Option<String>,
    /// From one call of it to the next, for all processes together, ms; 0: it is not paced
    #[arg(long, requires = "venue", value_parser = value_parser!(i32).range(0..=60_000))]
    min_interval_ms: Option<i32>,
    #[command(flatten)]
    books: BooksAddress,
}

/// Halts, and says what is in force.
///
/// # Errors
/// When the books refuse, or can't be reached.
pub async fn halt(options: Halt) -> Result<String> {
    let (books, scope, by) = (options.books.connect().await?, options.scope.of_books(), options.word.by()?);
    let changed = books.halt(&scope, options.payouts, &by, &options.word.reason).await?;
    let mut text =
        format!("{scope} {}.\n", if changed { "is halted" } else { "was halted before; nothing has changed" });
    let scope = scope.to_string();
    let payouts = books.halts().await?.iter().any(|halt| halt.scope == scope && halt.payouts);
    text.push_str(match (payouts, scope.starts_with("strategy/")) {
        (true, _) => "No order and no payout is let through from now on;",
        (false, true) => "No order is let through from now on;",
        (false, false) => {
            "No order is let through from now on. PAYOUTS STILL GO OUT: --payouts halts them, too. Of orders,"
        }
    });
    text.push_str(
        " what was let through before may still reach a venue, within one interval of its pace\nand the time that a request \
         takes. Cancels and lookups go on.\n",
    );
    text.push_str(&in_force(&books).await?);
    Ok(text)
}

/// Lifts a halt, and says what is in force.
///
/// # Errors
/// When the books refuse, or can't be reached.
pub async fn resume(options: Resume) -> Result<String> {
    let (books, scope, by) = (options.books.connect().await?, options.scope.of_books(), options.word.by()?);
    let lifted = books.halt_lift(&scope, &by, &options.word.reason).await?;
    let said =
        if lifted { "is not halted by itself any more" } else { "was not halted by itself; nothing has changed" };
    Ok(format!("{scope} {said}.\n{}", in_force(&books).await?))
}

/// Sets a venue's pace, if one is given, and says how venues are paced.
///
/// # Errors
/// When the books refuse, or can't be reached.
pub async fn pace(options: SetPace) -> Result<String> {
    let books = options.books.connect().await?;
    if let (Some(venue), Some(min_interval_ms)) = (&options.venue, options.min_interval_ms) {
        books.venue_pace_set(venue, min_interval_ms).await?;
    }
    let mut text = String::new();
    for pace in books.paces().await? {
        match pace.min_interval_ms {
            0 => write!(text, "{}: not paced", pace.venue)?,
            ms => write!(text, "{}: one call in {ms} ms", pace.venue)?,
        }
        if let (Some(ms), why) = (pace.closed_ms, pace.closed_why.unwrap_or_default()) {
            write!(text, "; wants to be left alone for {ms} ms more ({why})")?;
        }
        text.push('\n');
    }
    Ok(if text.is_empty() { "no venue was called yet\n".into() } else { text })
}

/// Says what is in force.
///
/// # Errors
/// When the books can't be reached.
pub async fn halts(books: &BooksAddress) -> Result<String> {
    in_force(&books.connect().await?).await
}

async fn in_force(books: &Books) -> Result<String> {
    let halts = books.halts().await?;
    if halts.is_empty() {
        return Ok("No halt is in force.\n".into());
    }
    let mut text = "In force:\n".to_owned();
    for halt in halts {
        let what = if halt.payouts { "orders and payouts" } else { "orders" };
        writeln!(text, "  {}: {what}, since {}, by {}: {}", halt.scope, halt.since, halt.by, halt.reason)?;
    }
    Ok(text)
}
