//! The rules of a market (`exchangeInfo`, <https://developers.binance.com/docs/binance-spot-api-docs/filters>), and where it
//! stands (`ticker/bookTicker`). Public: nothing is signed.

use backstop_domain::{Filters, Pair};
use reqwest::StatusCode;
use serde::Deserialize;

use super::super::{LookupFailed, spot::Top};
use super::{
    Answer, Binance, describe, retry_after,
    spot::{code, read_answer, same, unreadable},
    turned_away,
};
use crate::books::Priority;

const EXCHANGE_INFO: &str = "api/v3/exchangeInfo";
const BOOK_TICKER: &str = "api/v3/ticker/bookTicker";
/// "Invalid symbol."
const NO_SUCH_SYMBOL: i64 = -1121;

#[derive(Deserialize)]
struct ExchangeInfo {
    symbols: Vec<MarketRow>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct MarketRow {
    symbol: String,
    base_asset: String,
    quote_asset: String,
    quote_asset_precision: u32,
    filters: Vec<Rule>,
}

#[derive(Deserialize)]
#[serde(tag = "filterType", rename_all_fields = "camelCase")]
enum Rule {
    #[serde(rename = "PRICE_FILTER")]
    Price { min_price: String, max_price: String, tick_size: String },
    #[serde(rename = "LOT_SIZE")]
    Lot { min_qty: String, max_qty: String, step_size: String },
    /// A symbol has one of the two.
    #[serde(rename = "NOTIONAL", alias = "MIN_NOTIONAL")]
    Notional { min_notional: String },
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BookTicker {
    symbol: String,
    bid_price: String,
    ask_price: String,
}

impl Binance {
    pub(super) async fn filters_of(&self, pair: &Pair) -> Result<Option<Filters>, LookupFailed> {
        let symbol = pair.symbol();
        let (status, after, body) = self.market(EXCHANGE_INFO, &symbol).await?;
        if status == StatusCode::BAD_REQUEST && code(&body) == Some(NO_SUCH_SYMBOL) {
            return Ok(None);
        }
        let info: ExchangeInfo = read_answer((status, after, body))?;
        let found = info.symbols.into_iter().find(|row| row.symbol == symbol);
        found.map(|row| read_rules(row, pair).map_err(unreadable)).transpose()
    }

    pub(super) async fn top_of(&self, symbol: &str) -> Result<Top, LookupFailed> {
        let best: BookTicker = read_answer(self.market(BOOK_TICKER, symbol).await?)?;
        same("symbol", &best.symbol, symbol).map_err(unreadable)?;
        // A side that nobody stands on is shown with a price of zero.
        let price = |text: &str| Filters::bound(text).map_err(unreadable);
        Ok(Top { bid: price(&best.bid_price)?, ask: price(&best.ask_price)? })
    }

    /// What everybody may know of a symbol. Nothing is signed: the time of the slot is not needed.
    async fn market(&self, path: &str, symbol: &str) -> Result<Answer, LookupFailed> {
        let mut url = self.config.base_url.clone();
        url.set_path(path);
        url.query_pairs_mut().append_pair("symbol", symbol);
        let lost = |error: &reqwest::Error| LookupFailed { reason: describe(error), after: None };
        self.pacer.turn(Priority::Market, 0).await?;
        let answer = self.http.get(url).send().await.map_err(|error| lost(&error))?;
        let (status, after) = (answer.status(), retry_after(&answer));
        if turned_away(status) {
            self.pacer.back_off(after, &format!("HTTP {status}")).await;
        }
        let body = answer.bytes().await.map_err(|error| lost(&error))?.to_vec();
        Ok((status, after, body))
    }
}

fn read_rules(row: MarketRow, pair: &Pair) -> Result<Filters, String> {
    same("base asset", &row.base_asset, pair.base.as_str())?;
    same("quote asset", &row.quote_asset, pair.quote.as_str())?;
    let mut filters = Filters {
        pair: pair.clone(),
        min_price: None,
        max_price: None,
        tick: None,
        min_quantity: None,
        max_quantity: None,
        step: None,
        min_notional: None,
        quote_decimals: row.quote_asset_precision,
    };
    for rule in row.filters {
        match rule {
            Rule::Price { min_price, max_price, tick_size } => {
                filters.min_price = Filters::bound(&min_price)?;
                filters.max_price = Filters::bound(&max_price)?;
                filters.tick = Filters::bound(&tick_size)?;
            }
            Rule::Lot { min_qty, max_qty, step_size } => {
                filters.min_quantity = Filters::bound(&min_qty)?;
                filters.max_quantity = Filters::bound(&max_qty)?;
                filters.step = Filters::bound(&step_size)?;
            }
            Rule::Notional { min_notional } => filters.min_notional = Filters::bound(&min_notional)?,
            Rule::Other => {}
        }
    }
    Ok(filters)
}
