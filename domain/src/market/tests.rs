use proptest::{prop_assert, prop_assert_eq, proptest};
use serde_json::json;

use super::{Filters, Pair, Side};
use crate::Amount;

fn amount(text: &str) -> Amount {
    text.parse().unwrap()
}

fn filters() -> Filters {
    serde_json::from_value(json!({
        "pair": "BTC/USDT", "min_price": "0.01", "max_price": "1000000.00", "tick": "0.01000000",
        "min_quantity": "0.0001", "max_quantity": "9000", "step": "0.00010000", "min_notional": "10",
        "quote_decimals": 6,
    }))
    .unwrap()
}

#[test]
fn a_pair_is_two_assets_and_a_side_is_one_of_two() {
    let pair: Pair = "BTC/USDT".parse().unwrap();
    assert_eq!((pair.base.as_str(), pair.quote.as_str()), ("BTC", "USDT"));
    assert_eq!((pair.to_string().as_str(), pair.symbol().as_str()), ("BTC/USDT", "BTCUSDT"));
    for bad in ["", "BTCUSDT", "/", "BTC/", "/USDT", "BTC/USDT/EUR", "BTC / USDT", "BTC/BTC", " BTC/USDT"] {
        assert!(bad.parse::<Pair>().is_err(), "{bad:?}");
    }
    for side in Side::ALL {
        assert_eq!(Side::from_name(side.name()), Some(side));
        assert_eq!(json!(side), json!(side.name()));
    }
    assert_eq!(Side::from_name("Buy"), None);
}

#[test]
fn what_the_venue_would_refuse_is_refused_by_its_field_and_rule() {
    for (price, quantity, refusal) in [
        ("60000.01", "0.0005", None),
        ("0.01", "1000", None),
        ("1000000", "0.0001", None),
        ("0.001", "1", Some("price: expected at least 0.01")),
        ("1000000.01", "1", Some("price: expected at most 1000000")),
        ("60000.005", "1", Some("price: expected a multiple of 0.01")),
        ("60000", "0.00005", Some("qty: expected at least 0.0001")),
        ("60000", "9000.0001", Some("qty: expected at most 9000")),
        ("60000", "0.00015", Some("qty: expected a multiple of 0.0001")),
        ("60000", "0.0001", Some("qty: expected price × qty of at least 10 USDT")),
        ("9999.99", "0.001", Some("qty: expected price × qty of at least 10 USDT")),
    ] {
        let answer = filters().check(amount(price), amount(quantity)).map_err(|error| error.to_string());
        assert_eq!(answer.err().as_deref(), refusal, "{quantity} at {price}");
    }
}

#[test]
fn zero_and_absence_bound_nothing() {
    let zeros = json!({"pair": "BTC/USDT", "min_price": "0.00000000", "tick": "0", "step": null, "quote_decimals": 8});
    let free: Filters = serde_json::from_value(zeros).unwrap();
    assert_eq!(free.check(amount("0.000000000000000001"), amount("99999999999999999999")), Ok(()));
    let precise = amount("1234567890.123456789012345678");
    assert_eq!(free.round_price_down(precise), Some(precise));
    assert_eq!(free.round_quantity_down(precise), Some(precise));
    for filters in [free, filters()] {
        let there_and_back = serde_json::from_value(json!(filters)).unwrap();
        assert_eq!(filters, there_and_back);
    }
    for bad in ["-1", "1e2", "x"] {
        assert!(Filters::bound(bad).is_err(), "{bad}");
    }
}

#[test]
fn what_can_not_be_rounded_to_an_amount_is_none() {
    assert_eq!(filters().round_price_down(amount("0.009")), None);
    assert_eq!(filters().round_price_up(amount("0.009")), Some(amount("0.01")));
    assert_eq!(filters().round_quantity_down(amount("0.00009")), None);
    assert_eq!(filters().round_price_up(amount("99999999999999999999")), Some(amount("99999999999999999999")));
    let coarse = Filters { tick: Some(amount("30000000000000000000")), ..filters() };
    assert_eq!(coarse.round_price_up(amount("99999999999999999999")), None);
}

#[test]
fn a_buy_needs_its_price_rounded_up_to_the_places_of_the_quote() {
    let needs = |side, price, quantity| filters().needs(side, amount(price), amount(quantity));
    assert_eq!(needs(Side::Buy, "0.0100001", "0.1"), Some(amount("0.001001").atoms()));
    assert_eq!(needs(Side::Buy, "60000", "0.5"), Some(amount("30000").atoms()));
    assert_eq!(needs(Side::Sell, "60000", "0.5"), Some(amount("0.5").atoms()));
    let long = "1234567890.123456789012345678";
    assert_eq!(needs(Side::Buy, long, long), None);
}

proptest! {
    #[test]
    fn rounding_goes_the_right_way_by_less_than_a_step(
        atoms in 1_u128..10_u128.pow(28), step in 1_u128..10_u128.pow(22),
    ) {
        let (value, step) = (Amount::from_atoms(atoms).unwrap(), Amount::from_atoms(step).unwrap());
        let filters = Filters { tick: Some(step), step: Some(step), ..filters() };
        let down = filters.round_price_down(value).map_or(0, Amount::atoms);
        prop_assert_eq!(filters.round_quantity_down(value).map_or(0, Amount::atoms), down);
        prop_assert!(down <= atoms && atoms - down < step.atoms() && down.is_multiple_of(step.atoms()));
        if let Some(up) = filters.round_price_up(value).map(Amount::atoms) {
            prop_assert!(up >= atoms && up - atoms < step.atoms() && up.is_multiple_of(step.atoms()));
        }
    }

    #[test]
    fn the_least_notional_is_met_exactly_when_the_exact_product_is(
        price in 1_u128..10_u128.pow(9), price_places in 0_u32..=9,
        quantity in 1_u128..10_u128.pow(9), quantity_places in 0_u32..=9,
        near in -2_i128..=2, least_places in 0_u32..=18,
    ) {
        let of = |mantissa: u128, places: u32| Amount::from_atoms(mantissa * 10_u128.pow(18 - places)).unwrap();
        let exact = price * quantity * 10_u128.pow(18 - price_places - quantity_places);
        let unit = 10_u128.pow(18 - least_places);
        let least = (exact / unit).checked_add_signed(near).unwrap_or(0) * unit;
        let free = Filters { min_price: None, max_price: None, tick: None, min_quantity: None, max_quantity: None,
            step: None, min_notional: Amount::from_atoms(least), ..filters() };
        let passes = free.check(of(price, price_places), of(quantity, quantity_places)).is_ok();
        prop_assert_eq!(passes, free.min_notional.is_none_or(|least| exact >= least.atoms()));
    }
}
