//! What a trade costs, and in which asset it is taken.

use rust_decimal::{Decimal, RoundingStrategy};

use super::{Fill, Order, PLACES, Side, Trade, price};
use crate::clock::Millis;
use crate::ledger::Ledger;
use crate::world::World;

/// The asset prices are compared in when two assets have no symbol of their own.
const MIDDLE_ASSET: &str = "USDT";

/// The fee of a fill: in the asset of the settings when the balance covers it there, otherwise out of what the trade
/// brings, as "Commission FAQ" of the Spot API describes it for BNB.
///
/// `before` are trades of the same step, which the balance does not show yet.
pub(crate) fn fee(
    ledger: &Ledger,
    world: &World,
    order: &Order,
    fill: Fill,
    maker: bool,
    before: &[Trade],
) -> (Decimal, String) {
    let settings = ledger.settings();
    let rate = if maker { settings.maker_fee } else { settings.taker_fee };
    let in_third = settings.fee_asset.as_deref().and_then(|asset| {
        let fee = places(convert(ledger, world, fill.quote_qty() * rate, (&order.quote, asset), order.updated_at_ms)?);
        let taken: Decimal = before.iter().filter(|trade| trade.fee_asset == asset).map(|trade| trade.fee).sum();
        let sold = if order.spends() == asset { order.remaining() } else { Decimal::ZERO };
        (ledger.free(asset, order.updated_at_ms) >= fee + taken + sold).then(|| (fee, asset.to_owned()))
    });
    in_third.unwrap_or_else(|| match order.side {
        Side::Buy => (places(fill.qty * rate), order.base.clone()),
        Side::Sell => (places(fill.quote_qty() * rate), order.quote.clone()),
    })
}

fn places(amount: Decimal) -> Decimal {
    amount.round_dp_with_strategy(PLACES, RoundingStrategy::ToZero)
}

/// What an amount of one asset is worth in another at a moment.
fn convert(
    ledger: &Ledger,
    world: &World,
    amount: Decimal,
    (from, to): (&str, &str),
    at_ms: Millis,
) -> Option<Decimal> {
    let value = |asset: &str| {
        if asset == MIDDLE_ASSET {
            return Some(Decimal::ONE);
        }
        let symbol = world.symbol(&format!("{asset}{MIDDLE_ASSET}"))?;
        Some(price::mid(symbol, ledger.settings(), at_ms))
    };
    Some(amount * value(from)? / value(to)?)
}
