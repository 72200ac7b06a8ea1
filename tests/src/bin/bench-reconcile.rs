//! What reconciliation of large books costs: a look at what is new against a look at everything, the memory that this takes,
//! what transitions notice of it. Fails when that is more than it may be. Run it by `make bench`; ENTRIES=100000 is quicker, and
//! says less.
#![allow(clippy::unwrap_used)]

use std::{
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use backstop::config::database;
use backstop_activities::{
    books::{Books, Look},
    reconcile::{FullPass, NEWS},
};
use backstop_domain::{
    BusinessId, Destination, PayoutId,
    payout::{PayoutKind, PayoutOrder},
};
use backstop_tests::Database;
use futures::future::try_join_all;
use serde_json::Value;
use sqlx::PgConnection;
use tokio::process::Command;

const ACCOUNTS: i64 = 1_000;
/// So many entries are new when it is looked at what is new.
const NEW: i64 = 1_000;
/// Callers of transitions, each of which asks once in that time, whether or not the last answer came quickly.
const CALLERS: usize = 4;
const ASK_EVERY: Duration = Duration::from_millis(10);
const QUIET: Duration = Duration::from_secs(15);
/// The quickest of so many looks at what is new is the one that the machine has disturbed least.
const LOOKS: u32 = 3;
/// The checks of a run that need no venue, but for the entries.
const CHECKS: [&str; 5] = ["transit", "reservations", "intents", "rewards", "outbox"];

/// What it may cost. A look at what is new, of what one at everything costs where there are a million entries.
const NEWS_MAX_PERCENT: u128 = 5;
const MANY: i64 = 1_000_000;
/// A look at what is new where there are ten times as many entries, of what it costs before; and what is noise.
const GROWS_MAX: u32 = 2;
const NOISE: Duration = Duration::from_millis(50);
/// In the worker, MiB.
const MEMORY_MAX: u64 = 200;
/// 99 of 100 transitions during a full pass, of what they take without.
const SLOWER_MAX: u128 = 2;

#[tokio::main]
async fn main() -> Result<()> {
    match std::env::args().skip(1).collect::<Vec<_>>().as_slice() {
        [url] => full_pass(url).await,
        _ => measure().await,
    }
}

/// A process of its own: the full pass. Prints how many entries it saw and how much memory it took at most, in KiB.
async fn full_pass(url: &str) -> Result<()> {
    let books = Books::connect(database(url)?, 1).await?;
    let mut pass = FullPass::default();
    while pass.next_page(&books).await? {}
    ensure!(pass.deviations.is_empty(), "{:?}", pass.deviations);
    let status = std::fs::read_to_string("/proc/self/status")?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
    println!("{} {}", pass.entries, peak.trim().trim_end_matches(" kB"));
    Ok(())
}

async fn measure() -> Result<()> {
    let entries: i64 = std::env::var("ENTRIES").map_or(Ok(1_000_000), |text| text.parse())?;
    let database = Database::create().await;
    let (books, mut owner) = (database.books(8).await, database.owner().await);
    println!("books of {ACCOUNTS} accounts, on this machine's Postgres:");
    let mut there = 0;
    let mut before: Option<Duration> = None;
    for size in [entries / 10, entries] {
        fill(&mut owner, there, size).await?;
        there = size;
        look(&books).await?;
        let (mut news, mut checks) = (Duration::MAX, Duration::MAX);
        for _ in 0..LOOKS {
            fill(&mut owner, there, there + NEW).await?;
            there += NEW;
            news = news.min(look(&books).await?);
            checks = checks.min(check(&books).await?);
        }
        let run = news + checks;
        let began = Instant::now();
        let (seen, peak) = in_a_process(&database.url()).await?;
        let all = began.elapsed();
        println!(
            "  {seen} entries: {NEW} new ones {} ms, the other checks that need no venue {} ms; all of them {} ms, two thirds of it \
             rest: both together {}.{} % of that; {} MiB at most",
            news.as_millis(),
            checks.as_millis(),
            all.as_millis(),
            run.as_micros() * 100 / all.as_micros(),
            run.as_micros() * 1_000 / all.as_micros() % 10,
            peak / 1_024,
        );
        ensure!(peak / 1_024 <= MEMORY_MAX, "a full pass took {} MiB, more than {MEMORY_MAX}", peak / 1_024);
        ensure!(
            there < MANY || run.as_micros() * 100 <= NEWS_MAX_PERCENT * all.as_micros(),
            "a look at what is new took {run:?}, more than {NEWS_MAX_PERCENT} % of {all:?}"
        );
        if let Some(before) = before {
            ensure!(
                run <= before * GROWS_MAX + NOISE,
                "a look at what is new grew with the books: {before:?}, {run:?}"
            );
        }
        before = Some(run);
    }
    let quiet = async {
        tokio::time::sleep(QUIET).await;
        Ok(())
    };
    let without = latencies(&books, quiet).await?;
    let during = latencies(&books, async { in_a_process(&database.url()).await.map(|_| ()) }).await?;
    for (name, [median, p99]) in [("without", without), ("during a full pass", during)] {
        println!("  a payout opens {name} in {median} us (median), {p99} us (99 of 100)");
    }
    println!("  99 of 100: {}.{:02} times", during[1] / without[1], during[1] * 100 / without[1] % 100);
    ensure!(during[1] <= SLOWER_MAX * without[1], "99 of 100 took more than {SLOWER_MAX} times as long");
    Ok(())
}

/// Deposits, one entry each, so that there are `to` of them.
async fn fill(owner: &mut PgConnection, from: i64, to: i64) -> Result<()> {
    sqlx::query("ANALYZE").execute(&mut *owner).await?;
    for from in (from..to).step_by(20_000) {
        let sql = "SELECT count(*) FILTER (WHERE deposit_credit('binance', n::text, 'u-' || n % $3, 'BTC', 1))
                     FROM generate_series($1::bigint, $2::bigint - 1) AS n";
        let last = to.min(from + 20_000);
        let done: i64 = sqlx::query_scalar(sql).bind(from).bind(last).bind(ACCOUNTS).fetch_one(&mut *owner).await?;
        ensure!(done == last - from, "{done} of {}", last - from);
    }
    Ok(())
}

/// Looks at what is new, and seals it.
async fn look(books: &Books) -> Result<Duration> {
    let began = Instant::now();
    let news = books.books_news(NEWS).await?;
    ensure!(news.deviations.is_empty(), "{:?}", news.deviations);
    books.seal(&news.cursor).await?;
    Ok(began.elapsed())
}

/// Makes the checks that need no venue, and takes down what they come to.
async fn check(books: &Books) -> Result<Duration> {
    let began = Instant::now();
    for check in CHECKS {
        let deviations = books.check(check).await?;
        ensure!(deviations.is_empty(), "{deviations:?}");
        let look = Look { check, run: "bench", closes_from_ms: Some(0), began_us: 0, deviations: &[], unclear: &[] };
        books.findings_report(&look, 10).await?;
    }
    Ok(began.elapsed())
}

async fn in_a_process(url: &str) -> Result<(i64, u64)> {
    let program = std::env::current_exe().context("finding this program")?;
    let output = Command::new(program).arg(url).stdin(Stdio::null()).kill_on_drop(true).output().await?;
    ensure!(output.status.success(), "the process failed: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout)?;
    let (seen, peak) = text.trim().split_once(' ').context("no figures")?;
    Ok((seen.parse()?, peak.parse()?))
}

/// How long transitions take while something goes on: the median and the 99th of 100, in us.
async fn latencies(books: &Books, while_this: impl Future<Output = Result<()>>) -> Result<[u128; 2]> {
    let (over, until) = tokio::sync::watch::channel(false);
    let callers = try_join_all((0..CALLERS).map(|caller| ask(books, caller, until.clone())));
    let work = async {
        let done = while_this.await;
        over.send_replace(true);
        done
    };
    let (taken, done) = tokio::join!(callers, work);
    done?;
    let mut taken: Vec<u128> = taken?.into_iter().flatten().collect();
    taken.sort_unstable();
    Ok([taken[taken.len() / 2], taken[taken.len() * 99 / 100]])
}

async fn ask(books: &Books, caller: usize, until: tokio::sync::watch::Receiver<bool>) -> Result<Vec<u128>> {
    let mut pace = tokio::time::interval(ASK_EVERY);
    let (mut taken, run) = (Vec::new(), uuid::Uuid::now_v7());
    while !*until.borrow() {
        pace.tick().await;
        let user = format!("u-{}", (taken.len() * CALLERS + caller) % usize::try_from(ACCOUNTS)?);
        let order = payout(&format!("{run}-{caller}-{}", taken.len()), &user);
        let began = Instant::now();
        books.payout_open(&order).await?;
        taken.push(began.elapsed().as_micros());
    }
    Ok(taken)
}

fn payout(id: &str, user: &str) -> PayoutOrder {
    let text = |text: &str| BusinessId::try_from(text.to_owned()).unwrap();
    PayoutOrder {
        payout_id: PayoutId::refund(&text(id)),
        kind: PayoutKind::Refund,
        holder: format!("refund/{id}"),
        user_id: text(user),
        asset_id: text("BTC"),
        amount: "0.0001".parse().unwrap(),
        destination: Destination {
            network: text("BTC"),
            address: text("bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq"),
            tag: None,
        },
        reason: Some(text("bench")),
        requested_by: None,
        input: Value::Null,
    }
}
