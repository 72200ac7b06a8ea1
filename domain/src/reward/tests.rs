//! Goal: whatever the amount, the fee, the shares and the asset's decimals are, not a unit is lost or made, and nobody is off
//! by as much as one. What is exact is worked out here once more, in numbers of any size.

use std::collections::BTreeMap;

use proptest::{
    collection::{btree_map, vec},
    prelude::{Just, Strategy},
    prop_assert, prop_assert_eq, prop_oneof, proptest,
};
use serde_json::{Value, json};

use super::{RewardRequest, Split, largest_remainder, multiply_divide};

/// A number below 2^256 as (high, low): what a product of two of 128 bits takes.
type Wide = (u128, u128);

fn product(a: u128, b: u128) -> Wide {
    const LOW: u128 = u64::MAX as u128;
    let [(a1, a0), (b1, b0)] = [(a >> 64, a & LOW), (b >> 64, b & LOW)];
    let (low, high) = (a0 * b0, a1 * b1);
    let (cross, carried) = (a1 * b0).overflowing_add(a0 * b1);
    let (low, over) = low.overflowing_add(cross << 64);
    (high + (cross >> 64) + (u128::from(carried) << 64) + u128::from(over), low)
}

fn plus(a: Wide, b: u128) -> Wide {
    let (low, over) = a.1.overflowing_add(b);
    (a.0 + u128::from(over), low)
}

/// Smallest units of 10^-`decimals` of a decimal text.
fn units(text: &str, decimals: u32) -> u128 {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let fraction = fraction.trim_end_matches('0');
    assert!(fraction.len() <= decimals as usize, "{text} has more than {decimals} places");
    format!("{whole}{fraction:0<width$}", width = decimals as usize).parse().unwrap()
}

/// Plain decimals above zero, of at most so many whole digits and places, and 27 digits in all: with one more, an amount.
fn decimal(whole: usize, places: usize) -> impl Strategy<Value = String> {
    let digits = |up_to: usize| vec(0_u8..10, 0..=up_to);
    let text =
        |digits: &[u8]| if digits.is_empty() { "0".to_owned() } else { digits.iter().map(u8::to_string).collect() };
    (digits(whole), digits(places)).prop_map(move |(whole, mut fraction)| {
        fraction.truncate(27_usize.saturating_sub(whole.len().max(1)));
        let is_zero = whole.iter().chain(&fraction).all(|digit| *digit == 0);
        if is_zero { "1".to_owned() } else { format!("{}.{}", text(&whole), text(&fraction)) }
    })
}

fn shares() -> impl Strategy<Value = BTreeMap<String, String>> {
    let share = prop_oneof![decimal(2, 0), decimal(3, 3), decimal(12, 17), Just("1".to_owned())];
    prop_oneof![btree_map("[a-zé]{1,3}", share.clone(), 1..6), btree_map("[a-z]{1,4}", share, 1..60)]
}

#[derive(Clone, Debug)]
struct Case {
    amount: String,
    decimals: u32,
    fee_bps: u32,
    shares: BTreeMap<String, String>,
}

fn case() -> impl Strategy<Value = Case> {
    let sized = (0_u32..=18).prop_flat_map(|decimals| {
        let places = decimals as usize;
        (Just(decimals), prop_oneof![decimal(20, places), decimal(1, places)])
    });
    let fee = prop_oneof![Just(0), Just(10_000), 0_u32..=10_000];
    (sized, fee, shares()).prop_map(|((decimals, amount), fee_bps, shares)| Case { amount, decimals, fee_bps, shares })
}

impl Case {
    fn input(&self) -> Value {
        json!({
            "reward_id": "rw-1", "pool": "season-1", "asset_id": "BTC", "amount": self.amount, "shares": self.shares,
            "platform_fee_bps": self.fee_bps, "requested_by": "olga",
        })
    }

    fn split(&self) -> Split {
        RewardRequest::read(self.input()).unwrap().split(self.decimals).unwrap()
    }
}

proptest! {
    #[test]
    fn the_parts_and_the_fee_are_the_amount_and_each_part_is_its_exact_share_but_for_less_than_a_unit(case in case()) {
        let split = case.split();
        let amount = units(&case.amount, case.decimals);
        let fee = units(&split.platform_fee, case.decimals);
        prop_assert_eq!(fee, amount / 10_000 * u128::from(case.fee_bps) + amount % 10_000 * u128::from(case.fee_bps) / 10_000);
        let parts: Vec<u128> = split.allocations.iter().map(|part| units(part, case.decimals)).collect();
        prop_assert_eq!(parts.iter().sum::<u128>() + fee, amount);
        let weights: Vec<u128> = case.shares.values().map(|share| units(share, 18)).collect();
        let sum: u128 = weights.iter().sum();
        prop_assert_eq!(parts.len(), weights.len());
        for (part, weight) in parts.iter().zip(&weights) {
            // |part * sum - rest * weight| < sum, in numbers that hold the products.
            let (got, due) = (product(*part, sum), product(amount - fee, *weight));
            prop_assert!(got < plus(due, sum) && due < plus(got, sum), "{} of {}", part, weight);
        }
    }

    #[test]
    fn what_is_rounded_up_had_the_largest_remainders_and_of_equal_ones_the_first_users(case in case()) {
        let split = case.split();
        let rest = units(&case.amount, case.decimals) - units(&split.platform_fee, case.decimals);
        let weights: Vec<u128> = case.shares.values().map(|share| units(share, 18)).collect();
        let sum: u128 = weights.iter().sum();
        let exact = weights.iter().map(|weight| multiply_divide(rest, *weight, sum));
        let judged: Vec<(bool, u128)> = exact
            .zip(&split.allocations)
            .map(|((down, remainder), part)| (units(part, case.decimals) > down, remainder))
            .collect();
        for (at, (up, remainder)) in judged.iter().enumerate() {
            for (other_up, other) in &judged[at + 1..] {
                // Neither goes first that had less, nor the later of two that had the same.
                prop_assert!(*up || !other_up || other > remainder);
                prop_assert!(!*up || *other_up || remainder >= other);
            }
        }
    }

    #[test]
    fn the_order_in_which_users_are_named_and_how_shares_are_written_change_nothing(case in case()) {
        let longer = |share: &str| if share.contains('.') { format!("{share}0") } else { format!("{share}.0") };
        let backwards: Vec<String> =
            case.shares.iter().rev().map(|(user, share)| format!("{user:?}: {:?}", longer(share))).collect();
        let mut input = case.input();
        input["shares"] = serde_json::from_str(&format!("{{{}}}", backwards.join(", "))).unwrap();
        let (one, other) = (RewardRequest::read(case.input()).unwrap(), RewardRequest::read(input).unwrap());
        prop_assert_eq!(one.split(case.decimals), other.split(case.decimals));
        prop_assert_eq!(one.content(), other.content());
    }

    #[test]
    fn a_product_that_fits_nowhere_is_divided_exactly(a in 0..10_u128.pow(38), b in 0..10_u128.pow(38), c in 1..10_u128.pow(38)) {
        let (b, c) = (b.min(c), b.max(c));
        let (quotient, remainder) = multiply_divide(a, b, c);
        prop_assert!(remainder < c);
        prop_assert_eq!(plus(product(quotient, c), remainder), product(a, b));
    }
}

#[test]
fn a_thousand_equal_users_of_999_units_leave_the_last_one_without() {
    let parts = largest_remainder(999, &[10_u128.pow(18); 1_000]);
    assert_eq!((parts[..999].iter().sum::<u128>(), parts[999]), (999, 0));
}

#[test]
fn the_extremes_are_exact() {
    let read = |amount: &str, decimals, fee: u32, shares: Value| {
        let input = json!({"reward_id": "r", "pool": "p", "asset_id": "X", "amount": amount, "shares": shares,
                           "platform_fee_bps": fee, "requested_by": "o"});
        let split = RewardRequest::read(input).unwrap().split(decimals)?;
        Some((split.platform_fee, split.allocations))
    };
    let of = |fee: &str, parts: &[&str]| Some((fee.to_owned(), parts.iter().map(ToString::to_string).collect()));
    let thirds = json!({"a": "1", "b": "1", "c": "1"});
    assert_eq!(read("100", 2, 0, thirds.clone()), of("0", &["33.34", "33.33", "33.33"]));
    assert_eq!(read("100", 0, 100, thirds.clone()), of("1", &["33", "33", "33"]));
    // More digits than an `Amount` holds.
    let sevenths = read("99999999999999999999", 18, 0, json!({"a": "1", "b": "2", "c": "4"}));
    let parts = [
        "14285714285714285714.142857142857142857",
        "28571428571428571428.285714285714285714",
        "57142857142857142856.571428571428571429",
    ];
    assert_eq!(sevenths, of("0", &parts));
    // A huge share beside the smallest one.
    let uneven = json!({"big": "99999999999999999998", "small": "0.000000000000000001"});
    assert_eq!(read("1", 8, 0, uneven), of("0", &["1", "0"]));
    assert_eq!(read("0.00000001", 8, 9_999, thirds.clone()), of("0", &["0.00000001", "0", "0"]));
    assert_eq!(read("5", 8, 10_000, thirds.clone()), of("5", &["0", "0", "0"]));
    assert_eq!(read("0.001", 2, 0, thirds), None);
}

fn good() -> Value {
    json!({
        "reward_id": "rw-1", "pool": "season-1", "asset_id": "BTC", "amount": "1.5", "requested_by": "olga",
        "shares": {"alice": "3", "bob": "1.50"}, "platform_fee_bps": 250,
    })
}

#[test]
fn a_complete_request_is_read_and_the_fee_may_be_left_out() {
    let request = RewardRequest::read(good()).unwrap();
    assert_eq!(request.in_words(), "1.5 BTC of pool season-1 to 2 users");
    assert_eq!(
        request.content(),
        json!({"pool": "season-1", "asset_id": "BTC", "amount": "1.5", "requested_by": "olga",
               "platform_fee_bps": 250, "shares.alice": "3", "shares.bob": "1.5"})
    );
    let mut input = good();
    input.as_object_mut().unwrap().remove("platform_fee_bps");
    assert_eq!(RewardRequest::read(input).unwrap().platform_fee_bps, 0);
}

#[test]
fn every_wrong_field_is_named() {
    let many: BTreeMap<String, &str> = (0..1_001).map(|number| (format!("u{number}"), "1")).collect();
    let cases = [
        ("reward_id", json!(17), "reward_id"),
        ("pool", json!(""), "pool"),
        ("asset_id", Value::Null, "asset_id"),
        ("amount", json!(1.5), "amount"),
        ("amount", json!("0"), "amount"),
        ("platform_fee_bps", json!(10_001), "platform_fee_bps"),
        ("platform_fee_bps", json!("250"), "platform_fee_bps"),
        ("platform_fee_bps", json!(-1), "platform_fee_bps"),
        ("requested_by", json!(" olga"), "requested_by"),
        ("shares", json!({}), "shares"),
        ("shares", json!([{"alice": "3"}]), "shares"),
        ("shares", json!({"alice": 3}), "shares.alice"),
        ("shares", json!({"alice": "0"}), "shares.alice"),
        ("shares", json!({"alice": "-1"}), "shares.alice"),
        ("shares", json!({"alice": null}), "shares.alice"),
        ("shares", json!({"~house": "1"}), "shares.~house"),
        ("shares", json!({"": "1"}), "shares."),
        ("shares", json!({" bob": "1"}), "shares. bob"),
        ("shares", json!({"alice": "99999999999999999999", "bob": "1"}), "shares"),
        ("shares", json!(many), "shares"),
        ("note", json!("surplus"), "note"),
    ];
    for (field, value, named) in cases {
        let mut input = good();
        input[field] = value.clone();
        assert_eq!(RewardRequest::read(input).unwrap_err().field, named, "{field} = {value}");
    }
    for field in ["reward_id", "pool", "asset_id", "amount", "shares", "requested_by"] {
        let mut input = good();
        input.as_object_mut().unwrap().remove(field);
        assert_eq!(RewardRequest::read(input).unwrap_err().field, field);
    }
}
