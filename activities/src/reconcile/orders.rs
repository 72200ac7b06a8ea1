//! Orders and their trades, on both sides.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use backstop_domain::reconcile::{CheckReport, Deviation};
use futures::{FutureExt, future::BoxFuture};
use serde_json::{Value, json};

use super::venue::{DAY_MS, LOOK_AGAIN, Seen, UNREADABLE, VenueCheck, look_back, millis, seen_twice, told, unreadable};
use crate::{
    books::{Books, ComparedOrder},
    clock::Clock,
    failure::Failure,
    venue::{OrderRecord, OrderState, Spot, TradeRecord},
};

/// How long an order is watched after it has ended.
const WATCHED_MS: i64 = DAY_MS;
/// A finding is followed for so long; then it is left to whoever answers for it.
const MOST_MS: i64 = 7 * DAY_MS;
/// So many orders that the lists don't show are asked for one by one in one look.
const SINGLE_MAX: usize = 100;
/// So often is a market looked at that can't be read, in one check.
const LOOKS_MAX: u32 = 3;

pub(super) async fn check(
    books: &Books,
    market: &dyn Spot,
    visibility: Duration,
    input: &VenueCheck,
) -> Result<CheckReport, Failure> {
    let check = format!("orders/{}", input.venue);
    let (_, now_ms) = books.watermark(&check).await?;
    let (from_ms, closes_from_ms) = look_back(books, &check, now_ms, WATCHED_MS, MOST_MS).await?;
    let symbols = books.symbols_of(&input.venue, from_ms).await?;
    let looked = each(books, market, &symbols, |symbol| {
        let look = move || look(books, market, visibility, (&input.venue, symbol), from_ms);
        seen_twice(books, look).boxed()
    });
    let (mut seen, dark) = looked.await?;
    // What was found at a market that can't be looked at now is not gone.
    seen.unclear.extend(books.findings_at(&check, &dark.symbols()).await?);
    let note =
        format!("orders that are open or were so within a day, and that day's trades, of {} markets", symbols.len());
    let report = told(books, (&check, Some(closes_from_ms)), input.run(), &seen, dark.after(&note)).await?;
    let report = CheckReport { looked: dark.is_empty(), ..report };
    let (suspended, late) = (suspend(books, market, &input.venue, &seen).await?, end_late(books, market, &seen).await?);
    let mut note = report.note.clone();
    for (count, what) in [(suspended, "put in suspense"), (late, "booked of orders that were given up")] {
        if count > 0 {
            note = format!("{note}; {count} trades {what}");
        }
    }
    Ok(CheckReport { note, ..report })
}

/// Markets that can't be looked at, as those that the venue no longer lists, and why.
#[derive(Debug, Default)]
pub(super) struct Dark(Vec<(String, String)>);

impl Dark {
    pub(super) fn add(&mut self, symbol: &str, why: &Failure) {
        self.0.push((symbol.to_owned(), why.to_string()));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn symbols(&self) -> Vec<String> {
        self.0.iter().map(|(symbol, _)| symbol.clone()).collect()
    }

    /// Nothing, if all of them were looked at.
    pub(super) fn in_words(&self) -> String {
        let words: Vec<_> =
            self.0.iter().map(|(symbol, why)| format!("{symbol} could not be looked at: {why}")).collect();
        words.join("; ")
    }

    /// The same, to be said after what was looked at.
    fn after(&self, looked_at: &str) -> String {
        if self.is_empty() { looked_at.to_owned() } else { format!("{looked_at}; {}", self.in_words()) }
    }
}

/// Looks at each market, at what fails a few times. A market that fails keeps no other from being looked at; a venue that
/// answers to nothing is another matter.
async fn each<'a>(
    books: &Books,
    market: &dyn Spot,
    symbols: &'a [String],
    look: impl Fn(&'a str) -> BoxFuture<'a, Result<Seen, Failure>>,
) -> Result<(Seen, Dark), Failure> {
    let (mut seen, mut dark) = (Seen::default(), Dark::default());
    let mut left: Vec<&str> = symbols.iter().map(String::as_str).collect();
    for number in 0..LOOKS_MAX {
        if number > 0 {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        dark = Dark::default();
        let mut failed = Vec::new();
        for symbol in left {
            match look(symbol).await {
                Ok(at_market) => seen.add(at_market),
                Err(failure) if is_of_market(books, market, &failure).await? => {
                    dark.add(symbol, &failure);
                    failed.push(symbol);
                }
                Err(failure) => return Err(failure),
            }
        }
        left = failed;
        if left.is_empty() {
            break;
        }
    }
    Ok((seen, dark))
}

/// Whether the venue answers otherwise.
pub(super) async fn is_of_market(books: &Books, market: &dyn Spot, failure: &Failure) -> Result<bool, Failure> {
    if !matches!(failure, Failure::Again { kind: UNREADABLE, after: None, .. }) {
        return Ok(false);
    }
    let (_, now_ms) = books.watermark("orders").await?;
    Ok(market.balances(now_ms).await.is_ok())
}

/// Puts the trades in suspense of orders that are certainly nobody's here. Returns how many.
async fn suspend(books: &Books, market: &dyn Spot, venue: &str, seen: &Seen) -> Result<usize, Failure> {
    let mut suspended = 0;
    for unknown in seen.certain.iter().filter(|deviation| deviation.kind == "order_without_record") {
        let said = |field: &str| unknown.evidence[field].as_str().unwrap_or_default();
        let (_, now_ms) = books.watermark("orders").await?;
        let trades = market.trades(said("symbol"), said("venue_order_id"), now_ms).await.map_err(unreadable)?;
        for trade in trades {
            let done = books.fill_suspend((venue, said("symbol")), said("client_id"), &trade).await?;
            suspended += usize::from(done);
        }
    }
    Ok(suspended)
}

/// Cancels the orders that show after they were given up as absent, and books what they have traded: facts, of orders that nobody
/// follows any more. Returns how many trades.
async fn end_late(books: &Books, market: &dyn Spot, seen: &Seen) -> Result<usize, Failure> {
    let kinds = ["order_open_at_venue", "order_executed_differs", "fill_missing"];
    let is_late = |found: &&Deviation| kinds.contains(&found.kind.as_str()) && found.evidence["state"] == "void";
    let mut booked = 0;
    for late in seen.certain.iter().filter(is_late) {
        let said = |field: &str| late.evidence[field].as_str().unwrap_or_default();
        let (symbol, order_id, venue_order_id) = (said("symbol"), said("client_id"), said("venue_order_id"));
        let (_, now_ms) = books.watermark("orders").await?;
        // First of all whose it is: cancelled, it goes by another id.
        books.order_place(order_id, venue_order_id).await?;
        if late.kind == "order_open_at_venue" {
            let outcome = market.cancel(symbol, order_id, now_ms).await;
            tracing::warn!(order_id, ?outcome, "cancelled, though it had been given up");
        }
        for trade in market.trades(symbol, venue_order_id, now_ms).await.map_err(unreadable)? {
            let legs = (trade.quantity.as_str(), trade.quote_quantity.as_str());
            let trade_id = format!("{symbol}:{}", trade.id);
            let done = books.fill_book(order_id, &trade_id, legs, (&trade.fee, &trade.fee_asset)).await?;
            booked += usize::from(done);
        }
    }
    Ok(booked)
}

/// The open orders alone, as the watch looks at them: what it does not see is not gone. Says how many are wrong.
pub(crate) async fn check_open(books: &Books, market: &dyn Spot, input: &VenueCheck) -> Result<String, Failure> {
    let (_, now_ms) = books.watermark("orders").await?;
    let symbols = books.symbols_of(&input.venue, now_ms - WATCHED_MS).await?;
    let looked = each(books, market, &symbols, |symbol| {
        let look = move || look_at_open(books, market, (&input.venue, symbol));
        seen_twice(books, look).boxed()
    });
    let (seen, dark) = looked.await?;
    let check = format!("orders/{}", input.venue);
    told(books, (&check, None), input.run(), &seen, String::new()).await?;
    Ok(dark.after(&format!("{} that should not be", seen.certain.len())))
}

async fn look_at_open(
    books: &Books,
    market: &dyn Spot,
    (venue, symbol): (&str, &str),
) -> Result<Vec<Deviation>, Failure> {
    let (_, now_ms) = books.watermark("orders").await?;
    let open = market.open_orders(symbol, now_ms).await.map_err(unreadable)?;
    let open = Value::Array(open.iter().map(shown).collect());
    Ok(books.check_strange_orders(venue, symbol, &open).await?)
}

async fn look(
    books: &Books,
    market: &dyn Spot,
    visibility: Duration,
    (venue, symbol): (&str, &str),
    from_ms: i64,
) -> Result<Vec<Deviation>, Failure> {
    let (_, now_ms) = books.watermark("orders").await?;
    let clock = Clock::from(now_ms);
    let ours = books.orders_to_compare(venue, symbol).await?;
    let mut records = market.open_orders(symbol, clock.now_ms()).await.map_err(unreadable)?;
    // Those, too, that were taken a day before they ended. Read later than the open ones, which may have ended since.
    let all = market.orders_since(symbol, from_ms - DAY_MS, clock.now_ms()).await.map_err(unreadable)?;
    records.retain(|open| !all.iter().any(|record| record.id == open.id));
    records.extend(all);
    let seen: HashSet<&str> = records.iter().map(|record| record.id.as_str()).collect();
    let unseen = |order: &&ComparedOrder| order.state == "placed" && !seen.contains(id(order));
    let unseen: Vec<String> = ours.iter().filter(unseen).take(SINGLE_MAX).map(|order| id(order).to_owned()).collect();
    let mut absent = Vec::new();
    for id in unseen {
        match market.order_by_id(symbol, &id, clock.now_ms()).await.map_err(unreadable)? {
            Some(record) => records.push(record),
            None => absent.push(id),
        }
    }
    let trades = market.trades_since(symbol, from_ms, clock.now_ms()).await.map_err(unreadable)?;
    // Whose venue's id the books don't know yet is known by its own, also when it was cancelled.
    let attempted = ours.iter().filter(|order| order.state == "attempted");
    let cancelled: HashMap<String, &str> =
        attempted.map(|order| (market.known_as_when_cancelled(&order.order_id), order.order_id.as_str())).collect();
    for record in &mut records {
        if let Some(client_id) = cancelled.get(&record.client_id) {
            (*client_id).clone_into(&mut record.client_id);
        }
    }
    let orders = Value::Array(records.iter().map(shown).collect());
    let trades = Value::Array(trades.iter().map(shown_trade).collect());
    let seen = (&orders, absent.as_slice(), &trades);
    Ok(books.check_orders((venue, symbol), seen, from_ms, now_ms, millis(visibility)).await?)
}

fn id(order: &ComparedOrder) -> &str {
    order.venue_order_id.as_deref().unwrap_or_default()
}

/// A record in the words that the books compare by.
pub(super) fn shown(record: &OrderRecord) -> Value {
    json!({"id": record.id, "client_id": record.client_id, "open": record.state == OrderState::Open,
        "executed": record.executed_quantity, "updated_at_ms": record.updated_at_ms})
}

/// The same of a trade.
pub(super) fn shown_trade(trade: &TradeRecord) -> Value {
    json!({"id": trade.id, "order_id": trade.order_id, "base": trade.quantity, "quote": trade.quote_quantity,
        "fee": trade.fee, "fee_asset": trade.fee_asset, "at_ms": trade.traded_at_ms})
}
