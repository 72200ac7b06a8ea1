//! What is traded, and by which rules of the venue.

use std::{fmt, num::NonZeroU128, str::FromStr};

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use crate::{Amount, BusinessId, InvalidInput};

/// Which way an order trades its base asset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// Spends the quote asset.
    Buy,
    /// Spends the base asset.
    Sell,
}

impl Side {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Buy, Self::Sell];

    /// The side's name in the books and in inputs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Buy => "buy",
            Self::Sell => "sell",
        }
    }

    /// The side with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|side| side.name() == name)
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl TryFrom<String> for Side {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::from_name(&text).ok_or_else(|| "buy or sell".into())
    }
}

/// Two assets: how much of the quote a unit of the base costs is the price. Written `BTC/USDT`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pair {
    /// What is bought and sold; quantities are in it.
    pub base: BusinessId,
    /// What it is paid with; prices are in it.
    pub quote: BusinessId,
}

impl Pair {
    const EXPECTED: &'static str = "two different assets as \"BTC/USDT\"";

    /// The pair as the venue names it: `BTCUSDT`.
    pub fn symbol(&self) -> String {
        format!("{}{}", self.base, self.quote)
    }
}

impl FromStr for Pair {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let asset = |name: &str| {
            let one = !name.contains(|c: char| c == '/' || c.is_whitespace());
            BusinessId::try_from(name.to_owned()).ok().filter(|_| one)
        };
        let sides = text.split_once('/').and_then(|(base, quote)| asset(base).zip(asset(quote)));
        match sides {
            Some((base, quote)) if base != quote => Ok(Self { base, quote }),
            _ => Err(Self::EXPECTED.into()),
        }
    }
}

impl TryFrom<String> for Pair {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Pair> for String {
    fn from(pair: Pair) -> Self {
        pair.to_string()
    }
}

impl fmt::Display for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.base, self.quote)
    }
}

/// A venue's rules for the limit orders of a pair. `None` where it has none (the venue writes zero).
///
/// Those of Binance's `exchangeInfo` that bound an order by itself: `PRICE_FILTER`, `LOT_SIZE`, and the lower bound of
/// `NOTIONAL` or `MIN_NOTIONAL` (<https://developers.binance.com/docs/binance-spot-api-docs/filters>). Those that need
/// the market's average price, the account's balance or its other orders are left to the venue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filters {
    /// Of what.
    pub pair: Pair,
    /// `PRICE_FILTER.minPrice`, quote per base.
    #[serde(default, with = "bound")]
    pub min_price: Option<Amount>,
    /// `PRICE_FILTER.maxPrice`, quote per base.
    #[serde(default, with = "bound")]
    pub max_price: Option<Amount>,
    /// `PRICE_FILTER.tickSize`: every price is a multiple of it.
    #[serde(default, with = "bound")]
    pub tick: Option<Amount>,
    /// `LOT_SIZE.minQty`, in the base.
    #[serde(default, with = "bound")]
    pub min_quantity: Option<Amount>,
    /// `LOT_SIZE.maxQty`, in the base.
    #[serde(default, with = "bound")]
    pub max_quantity: Option<Amount>,
    /// `LOT_SIZE.stepSize`: every quantity is a multiple of it.
    #[serde(default, with = "bound")]
    pub step: Option<Amount>,
    /// `NOTIONAL.minNotional` or `MIN_NOTIONAL.minNotional`: the least price × quantity, in the quote.
    #[serde(default, with = "bound")]
    pub min_notional: Option<Amount>,
    /// Decimal places of the quote asset in the books (at most 18): what a buy sets aside is rounded up to them.
    pub quote_decimals: u32,
}

impl Filters {
    /// A bound as the venue writes it, where zero says that there is none.
    ///
    /// # Errors
    /// When it is no decimal that can be carried exactly.
    pub fn bound(text: &str) -> Result<Option<Amount>, String> {
        Ok(if Amount::parse_part(text)?.is_zero() { None } else { Some(text.parse()?) })
    }

    /// Whether the venue's rules let a limit order of this price and quantity through.
    ///
    /// # Errors
    /// Names the field (`price` or `qty`) and the first rule it breaks.
    pub fn check(&self, price: Amount, quantity: Amount) -> Result<(), InvalidInput> {
        check_one("price", price, [self.min_price, self.max_price, self.tick])?;
        check_one("qty", quantity, [self.min_quantity, self.max_quantity, self.step])?;
        let Some(least) = self.min_notional else { return Ok(()) };
        let notional = Product::of(price, quantity)
            .ok_or_else(|| InvalidInput::new("qty", "price × qty to have at most 38 digits"))?;
        if notional.at_least(least) {
            return Ok(());
        }
        Err(InvalidInput::new("qty", format!("price × qty of at least {least} {}", self.pair.quote)))
    }

    /// The highest price that is not above this one and a multiple of the tick; `None` when there is none above zero.
    pub fn round_price_down(&self, price: Amount) -> Option<Amount> {
        self.price_down(price.atoms())
    }

    /// The lowest price that is not below this one and a multiple of the tick; `None` when it can't be carried.
    pub fn round_price_up(&self, price: Amount) -> Option<Amount> {
        self.price_up(price.atoms())
    }

    /// The largest quantity that is not above this one and a multiple of the step; `None` when there is none above zero.
    pub fn round_quantity_down(&self, quantity: Amount) -> Option<Amount> {
        self.quantity_down(quantity.atoms())
    }

    /// As [`Filters::round_price_down`], of atoms.
    pub(crate) fn price_down(&self, atoms: u128) -> Option<Amount> {
        Amount::from_atoms(atoms - atoms % grain(self.tick))
    }

    /// As [`Filters::round_price_up`], of atoms.
    pub(crate) fn price_up(&self, atoms: u128) -> Option<Amount> {
        Amount::from_atoms(atoms.checked_next_multiple_of(grain(self.tick).get())?)
    }

    /// As [`Filters::round_quantity_down`], of atoms.
    pub(crate) fn quantity_down(&self, atoms: u128) -> Option<Amount> {
        Amount::from_atoms(atoms - atoms % grain(self.step))
    }

    /// The distance between two quantities, in atoms.
    pub(crate) fn lot(&self) -> u128 {
        grain(self.step).get()
    }

    /// What an order of this side takes from the balance, in atoms: the base it sells, or what it may cost in the quote,
    /// rounded up to the quote's decimal places as the books do (`order_needs`). `None` when that can't be told exactly.
    pub(crate) fn needs(&self, side: Side, price: Amount, quantity: Amount) -> Option<u128> {
        match side {
            Side::Sell => Some(quantity.atoms()),
            Side::Buy => Product::of(price, quantity)?.up_to_places(self.quote_decimals.min(PLACES)),
        }
    }
}

/// Decimal places of an atom.
const PLACES: u32 = 18;

/// The distance between two allowed values, in atoms; one where the venue has no rule.
fn grain(step: Option<Amount>) -> NonZeroU128 {
    step.and_then(|step| NonZeroU128::new(step.atoms())).unwrap_or(NonZeroU128::MIN)
}

fn check_one(field: &str, value: Amount, [min, max, step]: [Option<Amount>; 3]) -> Result<(), InvalidInput> {
    let refused = |rule: &str, bound: Amount| Err(InvalidInput::new(field, format!("{rule} {bound}")));
    match (min, max, step) {
        (Some(min), _, _) if value < min => refused("at least", min),
        (_, Some(max), _) if value > max => refused("at most", max),
        (_, _, Some(step)) if !value.atoms().is_multiple_of(step.atoms()) => refused("a multiple of", step),
        _ => Ok(()),
    }
}

/// Price × quantity, exactly: `rust_decimal` would round it silently.
#[derive(Clone, Copy)]
struct Product {
    mantissa: u128,
    scale: u32,
}

impl Product {
    fn of(price: Amount, quantity: Amount) -> Option<Self> {
        let [price, quantity] = [price, quantity].map(Decimal::from);
        let mantissa = price.mantissa().unsigned_abs().checked_mul(quantity.mantissa().unsigned_abs())?;
        Some(Self { mantissa, scale: price.scale() + quantity.scale() })
    }

    /// In units of so many decimal places, rounded up.
    fn in_places(self, places: u32) -> Option<u128> {
        match self.scale.checked_sub(places) {
            Some(surplus) => Some(self.mantissa.div_ceil(10_u128.pow(surplus))),
            None => self.mantissa.checked_mul(10_u128.pow(places - self.scale)),
        }
    }

    fn up_to_places(self, places: u32) -> Option<u128> {
        self.in_places(places)?.checked_mul(10_u128.pow(PLACES - places))
    }

    /// Rounding down to the places of the bound changes no answer; what overflows there is more than any amount.
    fn at_least(self, least: Amount) -> bool {
        let least = Decimal::from(least);
        let floor = self.mantissa / 10_u128.pow(self.scale.saturating_sub(least.scale()));
        let floor = floor.checked_mul(10_u128.pow(least.scale().saturating_sub(self.scale)));
        floor.is_none_or(|floor| floor >= least.mantissa().unsigned_abs())
    }
}

/// A bound as the venue writes it: a decimal string, zero for none.
mod bound {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use super::{Amount, Filters};

    #[expect(clippy::ref_option, reason = "serde calls it so")]
    pub(super) fn serialize<S: Serializer>(bound: &Option<Amount>, serializer: S) -> Result<S::Ok, S::Error> {
        match bound {
            Some(bound) => serializer.collect_str(bound),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Amount>, D::Error> {
        match Option::<String>::deserialize(deserializer)? {
            Some(text) => Filters::bound(&text).map_err(D::Error::custom),
            None => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests;
