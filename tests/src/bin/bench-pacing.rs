//! How much of a venue's pace its processes use: several hammer one paper exchange, whose own record says when it was
//! called. Half of the callers look, the others place orders, each with its attempt on record. Fails when they use too little of it, or call too early too often. Run it by `make bench`.
#![allow(clippy::unwrap_used)]

use std::{
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use backstop::config::database;
use backstop_activities::{
    books::{Books, PlacedOrder, Priority},
    pacing::{Lane, Unpaced},
    venue::{Binance, BinanceConfig, NewOrder, OrderKind, SendOutcome, Side, Spot, TimeInForce},
};
use backstop_tests::{Database, Exchange};
use futures::future::{BoxFuture, FutureExt, try_join_all};
use tokio::process::Command;
use uuid::Uuid;

const VENUE: &str = "binance";
const PROCESSES: usize = 4;
/// Calls that each process wants to make at once: every other one looks, the rest place orders.
const CALLERS: usize = 8;
const STRATEGY: &str = "mm-bench";
/// How long the venue takes an order after its signature, and how much later it may show.
const WINDOW: Duration = Duration::from_secs(5);
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

/// Calls the exchange as often as it gets a slot.
struct Hammer {
    books: Books,
    lane: Lane,
    venue: Binance,
    overslept: AtomicUsize,
}

impl Hammer {
    async fn look(&self) -> Result<()> {
        let ask = || self.books.venue_slot(VENUE, Priority::Look);
        let forfeit = |_| {
            self.overslept.fetch_add(1, Ordering::Relaxed);
            std::future::ready(Ok(()))
        };
        let signed_at_ms = self.lane.turn(Priority::Look, ask, forfeit).await?;
        self.venue.open_orders("BTCUSDT", signed_at_ms).await?;
        Ok(())
    }

    async fn place(&self) -> Result<()> {
        let order_id = &Uuid::now_v7().simple().to_string();
        let (holder, price, quantity) = ("bench", "120000", "0.0001");
        let order = PlacedOrder { order_id, holder, strategy_key: STRATEGY, side: "sell", price, quantity };
        ensure!(self.books.order_open(&order).await?, "order {order_id} is there already");
        let ask = || self.books.order_attempt(order_id, holder, WINDOW, WINDOW);
        let forfeit = async |signed_at_ms| {
            self.overslept.fetch_add(1, Ordering::Relaxed);
            self.books.order_not_sent(order_id, holder, signed_at_ms, "it overslept its slot").await.map(drop)
        };
        let signed_at_ms = self.lane.turn(Priority::Send, ask, forfeit).await?;
        let kind = OrderKind::Limit { price, time_in_force: TimeInForce::GoodTillCancelled };
        let order = NewOrder { client_id: order_id, symbol: "BTCUSDT", side: Side::Sell, kind, quantity };
        let SendOutcome::Done(id) = self.venue.place(order, signed_at_ms).await else {
            bail!("{order_id} is not placed")
        };
        self.books.order_place(order_id, &id).await?;
        Ok(())
    }
}

/// One process. Prints how many slots it has overslept.
async fn hammer(books: &str, exchange: &str) -> Result<()> {
    let books = Books::connect(database(books)?, 4).await?;
    let config = BinanceConfig {
        base_url: exchange.parse()?,
        api_key: "test-key".into(),
        api_secret: "test-secret".to_owned().into(),
        receive_window: WINDOW,
        answer_timeout: WINDOW,
    };
    let venue = Binance::new(config, Arc::new(Unpaced))?;
    let lane = Lane::new(books.clone(), VENUE);
    let hammer = &Hammer { books, lane, venue, overslept: AtomicUsize::new(0) };
    let until = Instant::now() + DURATION;
    let callers = (0..CALLERS).map(|caller| async move {
        while Instant::now() < until {
            let call: BoxFuture<'_, Result<()>> =
                if caller % 2 == 0 { hammer.look().boxed() } else { hammer.place().boxed() };
            call.await?;
        }
        anyhow::Ok(())
    });
    try_join_all(callers).await?;
    println!("{}", hammer.overslept.load(Ordering::Relaxed));
    Ok(())
}

async fn measure() -> Result<()> {
    let directory = std::env::temp_dir().join(format!("backstop-bench-{}", std::process::id()));
    std::fs::create_dir_all(&directory)?;
    let (books, exchange) = (Database::create().await, Exchange::start(&directory).await);
    let mut worker = books.worker().await;
    for funds in [
        "SELECT deposit_credit('binance', 'd-bench', 'u-bench', 'BTC', 1)",
        "SELECT strategy_start('mm-bench', 'u-bench', 'binance', 'BTC', 'USDT', '{}', 'olga')",
    ] {
        sqlx::query(funds).execute(&mut worker).await?;
    }
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
    let methods: Vec<String> = log.iter().filter_map(|request| request["method"].as_str().map(str::to_owned)).collect();
    report(&methods, &arrivals, &gaps, overslept)
}

fn report(methods: &[String], arrivals: &[i64], gaps: &[i64], overslept: usize) -> Result<()> {
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
    let placed = methods.iter().filter(|method| *method == "POST").count();
    println!("  {placed} of them placed an order");
    println!("  smallest gap {smallest} us; {early} of {} below {} ms", gaps.len(), shortest / 1_000);
    ensure!(used >= USED_MIN, "fewer than {USED_MIN} of 1000 slots are used");
    ensure!(early * GAPS_FOR_ONE_SHORT <= gaps.len(), "more than one in {GAPS_FOR_ONE_SHORT} calls is too early");
    Ok(())
}
