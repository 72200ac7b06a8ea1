//! The part of the settings that is about the spot market.

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use serde_json::Value;

use crate::fields::{BadInput, Fields, amount, unexpected};
use crate::settings::Settings;
use crate::world::World;

/// Takes what is named of `cancel_renames`, `prices`, `price_volatility`, `price_seed`, `fill_share`, `maker_fee`, `taker_fee`, `fee_asset`, `trade_delay_ms`.
pub(super) fn read(fields: &mut Fields, settings: &mut Settings, world: &World) -> Result<(), BadInput> {
    if let Some(renames) = fields.optional_flag("cancel_renames")? {
        settings.cancel_renames = renames;
    }
    if let Some(value) = fields.any("prices") {
        settings.prices.extend(read_prices(&value, world)?);
    }
    if let Some(share) = read_share(fields, "price_volatility")? {
        settings.price_volatility = share;
    }
    if let Some(seed) = fields.number("price_seed", 0, i64::MAX)? {
        settings.price_seed = seed.unsigned_abs();
    }
    if let Some(share) = read_share(fields, "fill_share")? {
        settings.fill_share = share;
    }
    if let Some(rate) = read_share(fields, "maker_fee")? {
        settings.maker_fee = rate;
    }
    if let Some(rate) = read_share(fields, "taker_fee")? {
        settings.taker_fee = rate;
    }
    if let Some(asset) = fields.text("fee_asset")? {
        // Null counts as absent everywhere here, so that "none" needs a word of its own.
        let known = asset.is_empty() || world.coin(&asset).is_some();
        if !known {
            let expected = "expected a coin of the exchange, or \"\" for what the trade brings";
            return Err(BadInput::new("fee_asset", expected));
        }
        settings.fee_asset = Some(asset).filter(|asset| !asset.is_empty());
    }
    if let Some(ms) = fields.millis("trade_delay_ms")? {
        settings.trade_delay_ms = ms;
    }
    Ok(())
}

fn read_prices(value: &Value, world: &World) -> Result<BTreeMap<String, Decimal>, BadInput> {
    let expected = "an object such as {\"BTCUSDT\": \"100000\"}";
    let prices = value.as_object().ok_or_else(|| unexpected("prices", expected, value))?.iter();
    prices
        .map(|(name, value)| {
            let field = format!("prices.{name}");
            let symbol = world.symbol(name);
            let symbol = symbol.ok_or_else(|| BadInput::new(&field, "expected a symbol of the exchange"))?;
            let price = amount(&field, value)?;
            if price < symbol.tick || price > symbol.max_price {
                let expected = format!("expected a price from {} to {}", symbol.tick, symbol.max_price);
                return Err(BadInput::new(&field, expected));
            }
            Ok((name.clone(), price))
        })
        .collect()
}

/// A share of a whole, as a decimal from 0 to 1.
fn read_share(fields: &mut Fields, name: &str) -> Result<Option<Decimal>, BadInput> {
    let share = fields.optional_amount(name)?;
    if share.is_some_and(|share| share > Decimal::ONE) {
        return Err(BadInput::new(name, "expected a share from \"0\" to \"1\""));
    }
    Ok(share)
}
