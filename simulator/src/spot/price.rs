//! The middle price of a symbol: where it is set to, and how far it wanders from there.
//!
//! It wanders as a pure function of time, seed and symbol, so that any moment can be asked for, also a past one, and a
//! seed repeats a market. Symbols wander on their own: nothing keeps `ETHBTC` at `ETHUSDT` over `BTCUSDT`.

use rust_decimal::{Decimal, RoundingStrategy};

use super::Symbol;
use crate::clock::Millis;
use crate::settings::Settings;

/// How long the price stays where it is.
pub(crate) const STEP_MS: Millis = 100;
/// The walk is a sum of waves: each is four times as long as the one before, and twice as high, as distances of a
/// random walk grow with the root of time. The longest takes close to two hours.
const WAVES: u32 = 9;
/// What the waves add up to at most.
const HIGHEST: i64 = (1 << WAVES) - 1;
/// The units a wave is counted in.
const WHOLE: i64 = 1_000_000;

/// The step a moment is in.
pub(crate) fn step_of(at: Millis) -> i64 {
    at.div_euclid(STEP_MS)
}

/// The middle price at a moment, in whole ticks.
pub(crate) fn mid(symbol: &Symbol, settings: &Settings, at: Millis) -> Decimal {
    let set = settings.prices.get(symbol.name).copied().unwrap_or(symbol.opening_price);
    if settings.price_volatility.is_zero() {
        return set;
    }
    let share = settings.price_volatility * Decimal::from(walk(symbol.name, settings.price_seed, step_of(at)));
    let price = set + set * share / Decimal::from(WHOLE * HIGHEST);
    let ticks = (price / symbol.tick).round_dp_with_strategy(0, RoundingStrategy::MidpointNearestEven);
    (ticks * symbol.tick).clamp(symbol.tick, symbol.max_price)
}

/// How far the walk is from its middle, from minus to plus `WHOLE * HIGHEST`.
fn walk(symbol: &str, seed: u64, step: i64) -> i64 {
    let salt = symbol.bytes().fold(seed, |salt, byte| scramble(salt ^ u64::from(byte)));
    (0..WAVES).map(|wave| height(scramble(salt ^ u64::from(wave)), step, 4_i64.pow(wave)) << wave).sum()
}

/// A wave at a step: random points, one in each period, joined by straight lines.
fn height(salt: u64, step: i64, period: i64) -> i64 {
    let (index, within) = (step.div_euclid(period), step.rem_euclid(period));
    let point = |index: i64| {
        let random = scramble(salt ^ index.cast_unsigned()) % (2 * WHOLE.unsigned_abs() + 1);
        random.cast_signed() - WHOLE
    };
    (point(index) * (period - within) + point(index + 1) * within) / period
}

/// A number that looks random for each input: the finalizer of `SplitMix64`.
fn scramble(input: u64) -> u64 {
    let mut bits = input.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use rust_decimal::Decimal;

    use super::{STEP_MS, mid};
    use crate::settings::Settings;
    use crate::spot::load;

    fn settings(volatility: &str, seed: u64) -> Settings {
        Settings { price_volatility: volatility.parse().unwrap(), price_seed: seed, ..Settings::default() }
    }

    #[test]
    fn a_still_price_is_where_it_is_set() {
        let symbol = load().unwrap().remove(0);
        assert_eq!(mid(&symbol, &settings("0", 1), 1_700_000_000_000), symbol.opening_price);
    }

    #[test]
    fn a_moving_price_keeps_its_bounds_and_repeats_with_its_seed() {
        let symbols = load().unwrap();
        let path = |symbol: usize, seed: u64| {
            let settings = settings("0.05", seed);
            let moments = (0..5_000).map(|step| 1_700_000_000_000 + step * 7 * STEP_MS);
            moments.map(|at| mid(&symbols[symbol], &settings, at)).collect::<Vec<_>>()
        };
        let bitcoin = path(0, 1);
        assert_eq!(bitcoin, path(0, 1));
        assert_ne!(bitcoin, path(0, 2));
        assert_ne!(path(1, 1), path(0, 1));
        let (lowest, highest) = (bitcoin.iter().min().unwrap(), bitcoin.iter().max().unwrap());
        assert!(*lowest >= Decimal::from(95_000) && *highest <= Decimal::from(105_000), "{lowest} {highest}");
        assert!(highest - lowest > Decimal::from(1_000), "{lowest} {highest}");
        assert!(bitcoin.iter().all(|price| (price % symbols[0].tick).is_zero()));
        // Neighbours are close to each other: it walks, and does not jump.
        let settings = settings("0.05", 1);
        for step in 0..2_000 {
            let at = |step: i64| mid(&symbols[0], &settings, 1_700_000_000_000 + step * STEP_MS);
            assert!((at(step) - at(step + 1)).abs() < Decimal::from(200), "{step}");
        }
    }
}
