//! The middle price of a symbol.

use rust_decimal::Decimal;

use super::Symbol;
use crate::settings::Settings;

/// The price a symbol is set to.
pub(crate) fn mid(symbol: &Symbol, settings: &Settings) -> Decimal {
    settings.prices.get(symbol.name).copied().unwrap_or(symbol.opening_price)
}
