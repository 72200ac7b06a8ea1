//! What the venues hold against all that is owed.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use backstop_domain::reconcile::{CheckReport, Deviation, Severity};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use temporalio_macros::activities;
use temporalio_sdk::activities::{ActivityContext, ActivityError};

use super::{
    LONGEST_PAUSE, deposits, orders,
    orders::Dark,
    payouts,
    venue::{AHEAD_MS, DAY_MS, Seen, VenueChecks, told, unreadable},
};
use crate::{
    beat::beating,
    books::{Books, CustodyOrder, CustodyRow, Explained, OwedRow},
    clock::Clock,
    failure::Failure,
    venue::{OrderRecord, Spot},
};

/// How far back a withdrawal or deposit may have come that is not booked yet.
const UNBOOKED_MS: i64 = 14 * DAY_MS;

/// An asset that has not held still for so long has not been compared for as long: somebody has to know.
const UNSEEN_MS: i64 = 3_600_000;

/// What one venue holds of an asset.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holding {
    /// The asset.
    pub asset: String,
    /// How much, free and locked; a decimal string.
    pub held: String,
    /// What of it is explained by what is about to be booked.
    pub explained: String,
    /// Why nobody can tell now, if so.
    pub unclear: Option<String>,
}

/// The input of `custody_compare`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Compare {
    /// The books before the venues were looked at.
    pub before: Vec<OwedRow>,
    /// What all venues hold.
    pub holdings: Vec<Holding>,
}

/// The input of `custody_report`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CustodyReport {
    /// The run.
    pub run: String,
    /// When it began, by the books' clock, in µs.
    #[serde(default)]
    pub began_us: i64,
    /// What differed in both of the last two looks that held still.
    pub differs: Vec<CustodyRow>,
    /// What moved during every look, and why.
    pub moving: Vec<CustodyRow>,
    /// The assets that held still, whether they fit or differ.
    pub still: Vec<String>,
    /// How many looks there were.
    pub looks: u32,
}

impl VenueChecks {
    /// The balances are read before and after everything else: one that changed meanwhile says nothing.
    pub(super) async fn look_at_holdings(&self, venue: &str) -> Result<Vec<Holding>, Failure> {
        let (_, now_ms) = self.books.watermark("custody").await?;
        let clock = Clock::from(now_ms);
        let before = self.held(&clock).await?;
        let live = self.books.custody_orders(venue).await?;
        let from_ms = now_ms - UNBOOKED_MS;
        let withdrawals = self.venue.history(from_ms, now_ms + AHEAD_MS, clock.now_ms()).await.map_err(unreadable)?;
        let deposits = self.venue.deposits(from_ms, now_ms + AHEAD_MS, clock.now_ms()).await.map_err(unreadable)?;
        let (orders, trades, dark) = self.unbooked_trades(&live, &clock).await?;
        let after = self.held(&clock).await?;
        let withdrawals = Value::Array(withdrawals.iter().map(payouts::shown).collect());
        // What came in before anybody read deposits here is nobody's, or the house's own.
        let (since_ms, _) = self.books.watermark(&deposits::since(venue)).await?;
        let deposits = deposits.records.iter().filter(|deposit| since_ms.is_none_or(|ms| deposit.inserted_at_ms >= ms));
        let deposits = Value::Array(deposits.map(deposits::shown).collect());
        let seen = [&withdrawals, &deposits, &orders, &trades];
        let explained = self.books.custody_explained(venue, seen, now_ms).await?;
        let in_the_dark = self.books.assets_at(venue, &dark.symbols()).await?;
        let holding = |row: Explained| {
            let (was, held) = (amount(&before, &row.asset), amount(&after, &row.asset));
            let moved = (was != held).then(|| format!("what {venue} holds moved"));
            let hidden = || in_the_dark.contains(&row.asset).then(|| dark.in_words());
            let (held, unclear) = (held.to_string(), row.unclear.or(moved).or_else(hidden));
            Holding { asset: row.asset, held, explained: row.explained, unclear }
        };
        Ok(explained.into_iter().map(holding).collect())
    }

    async fn held(&self, clock: &Clock) -> Result<HashMap<String, Decimal>, Failure> {
        let balances = self.market.balances(clock.now_ms()).await.map_err(unreadable)?;
        Ok(balances.into_iter().map(|balance| (balance.asset, balance.held)).collect())
    }

    /// The venue's records of the orders that may trade, the trades of those of which not all is booked, and the markets
    /// that can't be looked at: they leave only their own assets in the dark.
    async fn unbooked_trades(&self, live: &[CustodyOrder], clock: &Clock) -> Result<(Value, Value, Dark), Failure> {
        let (mut orders, mut trades, mut dark) = (Vec::new(), Vec::new(), Dark::default());
        let mut markets: BTreeMap<&str, Vec<&CustodyOrder>> = BTreeMap::new();
        for order in live {
            markets.entry(&order.symbol).or_default().push(order);
        }
        for (symbol, live) in markets {
            match self.unbooked_at(symbol, &live, clock).await {
                Ok((seen, made)) => {
                    orders.extend(seen);
                    trades.extend(made);
                }
                Err(failure) if orders::is_of_market(&self.books, self.market.as_ref(), &failure).await? => {
                    dark.add(symbol, &failure);
                }
                Err(failure) => return Err(failure),
            }
        }
        Ok((Value::Array(orders), Value::Array(trades), dark))
    }

    async fn unbooked_at(
        &self,
        symbol: &str,
        live: &[&CustodyOrder],
        clock: &Clock,
    ) -> Result<(Vec<Value>, Vec<Value>), Failure> {
        let (mut orders, mut trades) = (Vec::new(), Vec::new());
        let open = self.market.open_orders(symbol, clock.now_ms()).await.map_err(unreadable)?;
        for order in live {
            let listed = open.iter().find(|record| record.client_id == order.order_id);
            let record = match listed {
                Some(record) => Some(record.clone()),
                None => self.find(order, clock).await?,
            };
            let Some(record) = record else { continue };
            let mut shown = orders::shown(&record);
            shown["client_id"] = json!(order.order_id);
            orders.push(shown);
            if number(&record.executed_quantity) != number(&order.booked) {
                let made = self.market.trades(symbol, &record.id, clock.now_ms()).await.map_err(unreadable)?;
                trades.extend(made.iter().map(|trade| {
                    let mut shown = orders::shown_trade(trade);
                    shown["client_id"] = json!(order.order_id);
                    shown
                }));
            }
        }
        Ok((orders, trades))
    }

    async fn find(&self, order: &CustodyOrder, clock: &Clock) -> Result<Option<OrderRecord>, Failure> {
        let market: &dyn Spot = self.market.as_ref();
        let found = match &order.venue_order_id {
            Some(id) => market.order_by_id(&order.symbol, id, clock.now_ms()).await,
            None => market.order(&order.symbol, &order.order_id, clock.now_ms()).await,
        };
        found.map_err(unreadable)
    }
}

fn amount(held: &HashMap<String, Decimal>, asset: &str) -> Decimal {
    held.get(asset).copied().unwrap_or_default()
}

fn number(text: &str) -> Option<Decimal> {
    text.parse().ok()
}

/// The comparison of what the venues hold with the books.
pub struct CustodyActivities {
    /// The books.
    pub books: Books,
}

#[activities]
impl CustodyActivities {
    /// What is owed, before the venues are looked at.
    #[activity(name = "custody_before")]
    pub async fn before(self: Arc<Self>, ctx: ActivityContext) -> Result<Vec<OwedRow>, ActivityError> {
        beating(&ctx, LONGEST_PAUSE, async { Ok(self.books.custody_books().await?) }).await
    }

    /// Holds what they hold against the books.
    #[activity(name = "custody_compare")]
    pub async fn compare(
        self: Arc<Self>,
        ctx: ActivityContext,
        input: Compare,
    ) -> Result<Vec<CustodyRow>, ActivityError> {
        let compared = async { Ok(self.books.custody_compared(&input.before, &json!(input.holdings)).await?) };
        beating(&ctx, LONGEST_PAUSE, compared).await
    }

    /// Takes down what the looks have come to.
    #[activity(name = "custody_report")]
    pub async fn report(
        self: Arc<Self>,
        ctx: ActivityContext,
        input: CustodyReport,
    ) -> Result<CheckReport, ActivityError> {
        beating(&ctx, LONGEST_PAUSE, self.tell(&input)).await
    }
}

impl CustodyActivities {
    async fn tell(&self, input: &CustodyReport) -> Result<CheckReport, Failure> {
        // Of what moved it can't be said whether it fits.
        let [mut certain, unclear] =
            [&input.differs, &input.moving].map(|rows| rows.iter().map(deviation).collect::<Vec<_>>());
        for asset in &input.still {
            let (_, now_ms) = self.books.watermark(&seen_at(asset)).await?;
            self.books.watermark_set(&seen_at(asset), now_ms).await?;
        }
        for row in &input.moving {
            let (seen_ms, now_ms) = self.books.watermark(&seen_at(&row.asset)).await?;
            let (moving_ms, _) = self.books.watermark(&moving_at(&row.asset)).await?;
            match moving_ms.filter(|moving_ms| Some(*moving_ms) > seen_ms) {
                None => self.books.watermark_set(&moving_at(&row.asset), now_ms).await?,
                Some(moving_ms) if moving_ms < now_ms - UNSEEN_MS => certain.push(unseen(row, moving_ms)),
                Some(_) => {}
            }
        }
        let seen = Seen { certain, unclear };
        let moving: Vec<&str> = input.moving.iter().map(|row| row.asset.as_str()).collect();
        let mut note = "what the venues hold, against what is owed and the house's own".to_owned();
        if let Some(first) = input.moving.first() {
            note =
                format!("{note}; moved during every look of {}: {} ({})", input.looks, moving.join(", "), first.note);
        }
        told(&self.books, ("custody", Some(0)), (&input.run, input.began_us), &seen, note).await
    }
}

/// The watermark of when an asset held still last.
fn seen_at(asset: &str) -> String {
    format!("custody/{asset}")
}

/// That of the first look since then at which it moved. When nobody looks, nobody sees it move.
fn moving_at(asset: &str) -> String {
    format!("custody/{asset}/moving")
}

fn unseen(row: &CustodyRow, moving_ms: i64) -> Deviation {
    Deviation {
        kind: "custody_unseen".to_owned(),
        severity: Severity::Warning,
        measure: None,
        evidence: json!({"moving_since_ms": moving_ms, "why": row.note}),
        ..deviation(row)
    }
}

fn deviation(row: &CustodyRow) -> Deviation {
    Deviation {
        kind: "custody_differs".to_owned(),
        subject: format!("asset/{}", row.asset),
        severity: Severity::Critical,
        measure: Some(row.rest.clone()),
        // Nobody's in particular.
        owner: None,
        asset: Some(row.asset.clone()),
        evidence: json!({"held": row.held, "owed": row.owed, "house": row.house, "explained": row.explained,
            "rest": row.rest}),
    }
}
