//! The account as a whole: what it holds, every order and every trade of a symbol
//! (<https://developers.binance.com/docs/binance-spot-api-docs/rest-api/account-endpoints>).

use backstop_domain::Amount;
use rust_decimal::Decimal;
use serde::{Deserialize, de::DeserializeOwned};

use super::{
    Binance,
    spot::{OrderRow, TRADES, TradeRow, read_answer, read_order, read_trade, unreadable},
};
use crate::{
    clock::Clock,
    venue::{Balance, LookupFailed, OrderRecord, TradeRecord},
};

const ACCOUNT: &str = "api/v3/account";
const ALL_ORDERS: &str = "api/v3/allOrders";
/// The most rows of one answer.
const ROWS_MAX: usize = 1_000;
/// More pages than this are more than one look should ask for.
const PAGES_MAX: usize = 1_000;
/// The longest span that orders and trades are listed for by time.
const DAY_MS: i64 = 24 * 3_600_000;

#[derive(Deserialize)]
struct Account {
    balances: Vec<BalanceRow>,
}

#[derive(Deserialize)]
struct BalanceRow {
    asset: String,
    free: String,
    locked: String,
}

impl Binance {
    pub(super) async fn account_balances(&self, now_ms: i64) -> Result<Vec<Balance>, LookupFailed> {
        let account: Account = read_answer(self.look_up(ACCOUNT, &[("omitZeroBalances", "true")], now_ms).await?)?;
        let part = |row: &BalanceRow, text: &str| {
            Amount::parse_part(text).map_err(|_| unreadable(format!("balance {text:?} of {}", row.asset)))
        };
        let read = |row: BalanceRow| {
            let held: Decimal = part(&row, &row.free)? + part(&row, &row.locked)?;
            Ok(Balance { asset: row.asset, held })
        };
        account.balances.into_iter().map(read).collect()
    }

    /// Where the time begins is found by time, a day at most at once; from there on orders are listed by their ids.
    pub(super) async fn every_order(
        &self,
        symbol: &str,
        from_ms: i64,
        now_ms: i64,
    ) -> Result<Vec<OrderRecord>, LookupFailed> {
        let clock = Clock::from(now_ms);
        let Some(mut next) = self.first_since::<OrderRow>(ALL_ORDERS, symbol, from_ms, &clock).await? else {
            return Ok(Vec::new());
        };
        let mut found = Vec::new();
        for _ in 0..PAGES_MAX {
            let (id, limit) = (next.to_string(), ROWS_MAX.to_string());
            let parameters = [("symbol", symbol), ("orderId", id.as_str()), ("limit", limit.as_str())];
            let rows: Vec<OrderRow> = read_answer(self.look_up(ALL_ORDERS, &parameters, clock.now_ms()).await?)?;
            let full = rows.len() >= ROWS_MAX;
            for row in rows {
                if row.order_id < next {
                    return Err(unreadable(format!("order {} is out of order", row.order_id)));
                }
                next = row.order_id + 1;
                found.push(read_order(row, symbol).map_err(unreadable)?);
            }
            if !full {
                return Ok(found);
            }
        }
        Err(unreadable("more orders than one look asks for".into()))
    }

    /// Where the time begins is found by time, a day at most at once; from there on trades are listed by their ids.
    pub(super) async fn every_trade(
        &self,
        symbol: &str,
        from_ms: i64,
        now_ms: i64,
    ) -> Result<Vec<TradeRecord>, LookupFailed> {
        let clock = Clock::from(now_ms);
        let Some(mut next) = self.first_since::<TradeRow>(TRADES, symbol, from_ms, &clock).await? else {
            return Ok(Vec::new());
        };
        let mut found = Vec::new();
        for _ in 0..PAGES_MAX {
            let (id, limit) = (next.to_string(), ROWS_MAX.to_string());
            let parameters = [("symbol", symbol), ("fromId", id.as_str()), ("limit", limit.as_str())];
            let rows: Vec<TradeRow> = read_answer(self.look_up(TRADES, &parameters, clock.now_ms()).await?)?;
            let full = rows.len() >= ROWS_MAX;
            for row in rows {
                if row.id < next {
                    return Err(unreadable(format!("trade {} is out of order", row.id)));
                }
                next = row.id + 1;
                let order_id = row.order_id.to_string();
                found.push(read_trade(row, symbol, &order_id).map_err(unreadable)?);
            }
            if !full {
                return Ok(found);
            }
        }
        Err(unreadable("more trades than one look asks for".into()))
    }

    /// The id of the first row since `from_ms`.
    async fn first_since<R: Numbered>(
        &self,
        path: &'static str,
        symbol: &str,
        from_ms: i64,
        clock: &Clock,
    ) -> Result<Option<u64>, LookupFailed> {
        let mut start = from_ms;
        while start <= clock.now_ms() {
            let (from, until) = (start.to_string(), (start + DAY_MS - 1).to_string());
            let parameters = [("symbol", symbol), ("startTime", from.as_str()), ("endTime", until.as_str())];
            let rows: Vec<R> = read_answer(self.look_up(path, &parameters, clock.now_ms()).await?)?;
            if let Some(first) = rows.iter().map(R::id).min() {
                return Ok(Some(first));
            }
            start += DAY_MS;
        }
        Ok(None)
    }
}

/// A row of a list in the order of its ids.
trait Numbered: DeserializeOwned {
    fn id(&self) -> u64;
}

impl Numbered for OrderRow {
    fn id(&self) -> u64 {
        self.order_id
    }
}

impl Numbered for TradeRow {
    fn id(&self) -> u64 {
        self.id
    }
}
