//! How much of a venue's pace its processes use: several hammer one paper exchange, whose own record says when it was
//! called. Fails when they use too little of it, or call too early too often. Run it by `make bench`.
#![allow(clippy::unwrap_used)]

use std::{
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use backstop::config::database;
use backstop_activities::{
    books::{Books, Priority},
    pacing::{Lane, Unpaced},
    venue::{Binance, BinanceConfig, Spot},
};
use backstop_tests::{Database, Exchange};
use futures::future::try_join_all;
use tokio::process::Command;

const VENUE: &str = "binance";
const PROCESSES: usize = 4;
/// Calls that each process wants to make at once.
const CALLERS: usize = 8;
const INTERVAL: Duration = Duration::from_millis(20);
const DURATION: Duration = Duration::from_secs(30);
/// How late a slot is used at most, by its timer: a quarter of the interval, and 5 ms at least. Past that it is forfeited.
const LATE: Duration = Duration::from_millis(5);
/// What the way to the exchange takes more at one time than at another.
const CONNECTION: Duration = Duration::from_millis(5);
/// How much of the slots has to be used, in thousandths.
const USED_MIN: i64 = 970;
/// Of so many gaps one may be shorter than what the one before was late by can explain: a busy machine stops a process anywhere
/// on its way.
const GAPS_FOR_ONE_SHORT: usize = 1_000;

#[tokio::main]
async fn main() -> Result<()> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    match std::env::args().skip(1).collect::<Vec<_>>().as_slice() {
        [books, exchange] => hammer(books, exchange).await,
        _ => measure().await,
    }
}

/// One process: as many lookups as its slots allow. Prints how many slots it has overslept.
async fn hammer(books: &str, exchange: &str) -> Result<()> {
    let books = Books::connect(database(books)?, 4).await?;
    let lane = Lane::new(books.clone(), VENUE);
    let overslept = AtomicUsize::new(0);
    let config = BinanceConfig {
        base_url: exchange.parse()?,
        api_key: "test-key".into(),
        api_secret: "test-secret".to_owned().into(),
        receive_window: Duration::from_secs(5),
        answer_timeout: Duration::from_secs(5),
    };
    let venue = Binance::new(config, Arc::new(Unpaced))?;
    let until = Instant::now() + DURATION;
    let callers = (0..CALLERS).map(|_| async {
        while Instant::now() < until {
            let ask = || books.venue_slot(VENUE, Priority::Look);
            let forfeit = |_| {
                overslept.fetch_add(1, Ordering::Relaxed);
                std::future::ready(Ok(()))
            };
            let signed_at_ms = lane.turn(Priority::Look, ask, forfeit).await?;
            venue.open_orders("BTCUSDT", signed_at_ms).await?;
        }
        anyhow::Ok(())
    });
    try_join_all(callers).await?;
    println!("{}", overslept.into_inner());
    Ok(())
}

async fn measure() -> Result<()> {
    let directory = std::env::temp_dir().join(format!("backstop-bench-{}", std::process::id()));
    std::fs::create_dir_all(&directory)?;
    let (books, exchange) = (Database::create().await, Exchange::start(&directory).await);
    let interval_ms = i32::try_from(INTERVAL.as_millis())?;
    books.books(1).await.venue_pace_set(VENUE, interval_ms).await?;
    let program = std::env::current_exe().context("finding this program")?;
    let children = (0..PROCESSES).map(|_| {
        let mut command = Command::new(&program);
        command
            .arg(books.url())
            .arg(exchange.url())
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .kill_on_drop(true)
            .output()
    });
    let mut overslept = 0;
    for output in try_join_all(children).await? {
        ensure!(output.status.success(), "a process failed: {}", output.status);
        overslept += String::from_utf8(output.stdout)?.trim().parse::<usize>()?;
    }
    let log = exchange.log().await;
    std::fs::remove_dir_all(&directory)?;
    let mut arrivals: Vec<i64> = log.iter().filter_map(|request| request["received_at_us"].as_i64()).collect();
    arrivals.sort_unstable();
    let gaps: Vec<i64> = arrivals.windows(2).map(|pair| pair[1] - pair[0]).collect();
    report(&arrivals, &gaps, overslept)
}

fn report(arrivals: &[i64], gaps: &[i64], overslept: usize) -> Result<()> {
    let (first, last) = arrivals.first().zip(arrivals.last()).context("no call at all")?;
    let interval = i64::try_from(INTERVAL.as_micros())?;
    let smallest = gaps.iter().min().context("one call only")?;
    let shortest = interval - i64::try_from((LATE + CONNECTION).as_micros())?;
    let early = gaps.iter().filter(|gap| **gap < shortest).count();
    let slots = (last - first) / interval + 1;
    let used = i64::try_from(arrivals.len())? * 1_000 / slots;
    println!("{PROCESSES} processes with {CALLERS} callers each, one call in {} ms:", INTERVAL.as_millis());
    println!(
        "  {} calls in {} ms, {slots} slots: {}.{} % used, {overslept} overslept",
        arrivals.len(),
        (last - first) / 1_000,
        used / 10,
        used % 10
    );
    println!("  smallest gap {smallest} us; {early} of {} below {} ms", gaps.len(), shortest / 1_000);
    ensure!(used >= USED_MIN, "fewer than {USED_MIN} of 1000 slots are used");
    ensure!(early * GAPS_FOR_ONE_SHORT <= gaps.len(), "more than one in {GAPS_FOR_ONE_SHORT} calls is too early");
    Ok(())
}
