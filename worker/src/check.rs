//! `backstop check`, `findings` and `unfreeze`: what is wrong, and who answers for it.

use std::{fmt::Write, time::Duration};

use anyhow::{Context, Result};
use backstop_domain::reconcile::{Finding, Report, Severity};
use clap::{Args, Subcommand};
use serde_json::json;

use crate::{
    operate::{BooksAddress, Word},
    reconcile::{TemporalAddress, run_now},
};

/// The settings of `backstop check`.
#[derive(Args, Clone, Debug)]
pub struct Check {
    #[command(flatten)]
    temporal: TemporalAddress,
    /// Read all entries again, not only the new ones
    #[arg(long)]
    full: bool,
    /// Only these checks
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
    /// How long to wait for the checks, s
    #[arg(long, default_value_t = 900)]
    within_s: u64,
}

/// The settings of `backstop findings`. Without a word more, the open ones are listed.
#[derive(Args)]
#[command(subcommand_negates_reqs = true, args_conflicts_with_subcommands = true)]
pub struct Findings {
    #[command(subcommand)]
    command: Option<FindingsCommand>,
    #[command(flatten)]
    books: Option<BooksAddress>,
}

/// What is done with findings.
#[derive(Subcommand)]
pub enum FindingsCommand {
    /// List the open ones
    List {
        /// Those that are closed, too
        #[arg(long)]
        all: bool,
        /// Print them as JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        books: BooksAddress,
    },
    /// Show one with its evidence
    Show {
        /// Its number
        id: i64,
        #[command(flatten)]
        books: BooksAddress,
    },
    /// Answer for one: it is shown as answered for until it gets worse
    Ack {
        /// Its number
        id: i64,
        #[command(flatten)]
        word: Word,
        #[command(flatten)]
        books: BooksAddress,
    },
}

/// The settings of `backstop unfreeze`.
#[derive(Args, Clone, Debug)]
pub struct Unfreeze {
    /// Whose account
    #[arg(long)]
    user: String,
    /// In which asset
    #[arg(long)]
    asset: String,
    #[command(flatten)]
    word: Word,
    #[command(flatten)]
    books: BooksAddress,
}

/// Runs the checks. Returns what to print, and the exit status: 1 when a critical finding is open,
/// else 2 when a check could not be made.
///
/// # Errors
/// When Temporal can't be reached, or no worker serves in time.
pub async fn check(options: &Check) -> Result<(String, u8)> {
    let input = json!({"full": options.full, "checks": options.only});
    let id = options.temporal.run_id(&input);
    let run = run_now(&options.temporal, input);
    let report = tokio::time::timeout(Duration::from_secs(options.within_s), run).await.with_context(|| {
        format!(
            "the checks are not over; does a worker serve? Workflow {id} goes on; `temporal workflow terminate -w {id}` ends it"
        )
    })??;
    let status = match (report.open_critical, report.checks.iter().all(|check| check.looked)) {
        (0, true) => 0,
        (0, false) => 2,
        _ => 1,
    };
    let text = if options.json { format!("{}\n", serde_json::to_string_pretty(&report)?) } else { table(&report) };
    Ok((text, status))
}

/// A report for people.
fn table(report: &Report) -> String {
    let mut text = String::new();
    for check in &report.checks {
        let state = match (check.looked, check.deviations) {
            (false, 0) => "not made".to_owned(),
            (true, 0) => "fine".to_owned(),
            (_, deviations) => format!("{deviations} wrong"),
        };
        let _ = writeln!(text, "{:<24} {state:<10} {}", check.check, check.note);
    }
    let _ = writeln!(text, "\n{}", report.summary);
    text.push_str(&list(&report.findings));
    text
}

/// Findings, one in a line.
fn list(findings: &[Finding]) -> String {
    let mut text = String::new();
    for finding in findings {
        let severity = if finding.severity == Severity::Critical { "critical" } else { "warning" };
        let answers = finding.acknowledged_by.as_ref().map(|by| format!(", {by} answers for it")).unwrap_or_default();
        let _ = writeln!(
            text,
            "{:>5}  {severity:<8}  {}  {} of {}{}{answers}",
            finding.id,
            finding.first_seen,
            finding.kind,
            finding.subject,
            if finding.state == "open" { "" } else { ", closed" },
        );
    }
    text
}

/// Lists, shows, or answers for findings.
///
/// # Errors
/// When the books can't be reached, or refuse.
pub async fn findings(options: Findings) -> Result<String> {
    let open = |books| FindingsCommand::List { all: false, json: false, books };
    let command = options.command.or(options.books.map(open));
    match command.context("DATABASE_URL: expected the books")? {
        FindingsCommand::List { all, json, books } => {
            let findings = books.connect().await?.findings(all, 1_000).await?;
            Ok(match (json, findings.is_empty()) {
                (true, _) => format!("{}\n", serde_json::to_string_pretty(&findings)?),
                (false, true) => "nothing is wrong that anybody has found\n".to_owned(),
                (false, false) => list(&findings),
            })
        }
        FindingsCommand::Show { id, books } => {
            let finding = books.connect().await?.finding(id).await?;
            let finding = finding.with_context(|| format!("there is no finding {id}"))?;
            Ok(format!("{}{}\n", list(std::slice::from_ref(&finding)), serde_json::to_string_pretty(&finding)?))
        }
        FindingsCommand::Ack { id, word, books } => {
            let (books, by) = (books.connect().await?, word.by()?);
            let new = books.finding_acknowledge(id, &by, &word.reason).await?;
            let finding = books.finding(id).await?.context("the finding is gone")?;
            let said = if new { "you answer for it now" } else { "nothing has changed" };
            Ok(format!("{}{said}\n", list(&[finding])))
        }
    }
}

/// Lifts a freeze.
///
/// # Errors
/// When the books can't be reached, or refuse.
pub async fn unfreeze(options: Unfreeze) -> Result<String> {
    let (books, by) = (options.books.connect().await?, options.word.by()?);
    let lifted = books.account_unfreeze(&options.user, &options.asset, &by, &options.word.reason).await?;
    let said = if lifted { "is free again" } else { "was not frozen; nothing has changed" };
    Ok(format!("the {} account of {} {said}\n", options.asset, options.user))
}
