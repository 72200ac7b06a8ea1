//! Goal: each rule does what it says, in a market that can be worked out by hand.

use serde_json::{Value, json};

use super::{OpenOrder, Parameters, View, Wish, quote};
use crate::{Filters, Side};

fn good() -> Value {
    json!({
        "spread_bps": 100, "order_size": "1", "layers": 2, "layer_step_bps": 100, "refresh_tolerance_bps": 10,
        "max_base": "100",
    })
}

fn parameters(changes: &Value) -> Parameters {
    let mut input = good();
    for (field, value) in changes.as_object().unwrap() {
        input[field] = value.clone();
    }
    Parameters::read(input).unwrap()
}

fn filters() -> Filters {
    serde_json::from_value(json!({
        "pair": "ETH/USDT", "tick": "0.1", "step": "0.01", "min_quantity": "0.02", "min_notional": "5", "quote_decimals": 6,
    }))
    .unwrap()
}

/// A market with its mid at 1000, and plenty of both.
fn view() -> View {
    View {
        best_bid: Some("999.9".parse().unwrap()),
        best_ask: Some("1000.1".parse().unwrap()),
        open: Vec::new(),
        available_base: 10.into(),
        available_quote: 10_000.into(),
    }
}

fn open(id: &str, side: Side, price: &str, remaining: &str) -> OpenOrder {
    let id = id.to_owned().try_into().unwrap();
    OpenOrder { id, side, price: price.parse().unwrap(), remaining: remaining.parse().unwrap() }
}

/// What is wished, one word each: `-id` for a cancel.
fn wishes(changes: &Value, view: &View) -> Vec<String> {
    let wishes = quote(&parameters(changes), &filters(), view);
    let word = |wish: &Wish| match wish {
        Wish::Cancel { id } => format!("-{id}"),
        Wish::Place { side, price, quantity } => format!("{side} {quantity} at {price}"),
    };
    wishes.iter().map(word).collect()
}

#[test]
fn each_layer_has_a_buy_and_a_sell_around_the_mid() {
    assert_eq!(wishes(&json!({}), &view()), ["buy 1 at 995", "buy 1 at 985", "sell 1 at 1005", "sell 1 at 1015"]);
    let finer = json!({"layers": 1, "spread_bps": 3, "order_size": "0.123"});
    assert_eq!(
        wishes(&finer, &view()),
        ["buy 0.12 at 999.8", "sell 0.12 at 1000.2"],
        "away from the mid, down to the lot"
    );
    let dense = json!({"layers": 10, "spread_bps": 100, "layer_step_bps": 1, "max_base": null});
    let mut coarse = filters();
    coarse.tick = Some("10".parse().unwrap());
    assert_eq!(quote(&parameters(&dense), &coarse, &view()).len(), 2, "levels that fall on one price are one");
}

#[test]
fn where_the_venue_has_no_tick_prices_end_at_the_last_place_that_can_be_carried() {
    let free = Filters { tick: None, min_quantity: None, min_notional: None, ..filters() };
    let [one, three] = [1, 3].map(crate::Amount::from_atoms);
    let view = View { best_bid: one, best_ask: three, ..view() };
    let prices = quote(&parameters(&json!({"layers": 1})), &free, &view).into_iter().map(|wish| match wish {
        Wish::Place { price, .. } => Some(price),
        Wish::Cancel { .. } => None,
    });
    assert_eq!(prices.collect::<Vec<_>>(), [one, three]);
}

#[test]
fn without_a_book_nothing_is_wished() {
    let stale = vec![open("old", Side::Buy, "500", "1")];
    let known = View { open: stale, ..view() };
    assert!(!wishes(&json!({}), &known).is_empty());
    let crossed = View { best_bid: known.best_ask, best_ask: known.best_bid, ..known.clone() };
    let locked = View { best_bid: known.best_ask, ..known.clone() };
    for blind in [View { best_bid: None, ..known.clone() }, View { best_ask: None, ..known.clone() }, crossed, locked] {
        assert!(wishes(&json!({}), &blind).is_empty(), "{blind:?}");
    }
}

#[test]
fn one_order_near_each_level_is_kept_and_every_other_cancelled() {
    let orders = vec![
        open("far", Side::Buy, "996.1", "1"),
        open("near", Side::Buy, "995.9", "0.1"),
        open("nearer", Side::Buy, "994.9", "0.3"),
        open("outer", Side::Buy, "985", "1"),
        open("sell", Side::Sell, "1015.9", "1"),
        open("wrong side", Side::Sell, "1000", "1"),
    ];
    let wished = wishes(&json!({}), &View { open: orders, ..view() });
    assert_eq!(wished, ["-far", "-near", "-wrong side", "sell 1 at 1005"]);
}

#[test]
fn a_level_whose_money_is_still_tied_up_waits() {
    let stale = open("stale", Side::Buy, "900", "1");
    let mut view = View { open: vec![stale], available_quote: 1500.into(), ..view() };
    let sells = ["sell 1 at 1005", "sell 1 at 1015"];
    assert_eq!(wishes(&json!({}), &view), [&["-stale", "buy 1 at 995"], &sells[..]].concat());
    view.open.clear();
    assert_eq!(wishes(&json!({}), &view), [&["buy 1 at 995", "buy 0.51 at 985"], &sells[..]].concat());
}

#[test]
fn an_order_that_is_being_cancelled_is_not_traded_with() {
    let stale = open("stale", Side::Sell, "990", "1");
    let view = View { open: vec![stale], ..view() };
    assert_eq!(wishes(&json!({}), &view), ["-stale", "sell 1 at 1005", "sell 1 at 1015"]);
}

#[test]
fn less_money_makes_smaller_orders_and_too_little_makes_none() {
    let one = json!({"layers": 1});
    for (base, quote, expected) in [
        ("0.5", "100", &["buy 0.1 at 995", "sell 0.5 at 1005"][..]),
        ("0.0199", "19.8", &[]),
        ("0.02", "19.9", &["buy 0.02 at 995", "sell 0.02 at 1005"]),
        ("0", "-20000", &[]),
    ] {
        let view = View { available_base: base.parse().unwrap(), available_quote: quote.parse().unwrap(), ..view() };
        assert_eq!(wishes(&one, &view), expected, "{base}, {quote}");
    }
    let cheap = Filters { min_notional: Some("200".parse().unwrap()), ..filters() };
    let poor = View { available_base: 0.into(), available_quote: 150.into(), ..view() };
    assert!(quote(&parameters(&one), &cheap, &poor).is_empty(), "below the least notional");
}

#[test]
fn what_may_be_bought_stays_below_the_most_that_is_to_be_held() {
    let capped = json!({"max_base": "10.7", "layers": 1});
    assert_eq!(wishes(&capped, &view()), ["buy 0.7 at 995", "sell 1 at 1005"]);
    let mut view = View { open: vec![open("sell", Side::Sell, "1005", "0.5")], ..view() };
    assert_eq!(wishes(&capped, &view), ["buy 0.2 at 995"], "what is open to sell is still held");
    view.open.push(open("buy", Side::Buy, "995", "0.3"));
    assert_eq!(wishes(&capped, &view), ["-buy"], "an order that is too much is cancelled, and may trade until it is");
}

#[test]
fn every_wrong_missing_or_unknown_parameter_is_named() {
    for (field, bad) in [
        ("spread_bps", json!(0)),
        ("spread_bps", json!(10_001)),
        ("order_size", json!("0")),
        ("layers", json!(11)),
        ("layers", json!(0)),
        ("layer_step_bps", json!(0)),
        ("layer_step_bps", json!(9_950)),
        ("refresh_tolerance_bps", json!(-1)),
        ("max_base", json!(5)),
        ("leverage", json!(3)),
    ] {
        let mut input = good();
        input[field] = bad;
        assert_eq!(Parameters::read(input).unwrap_err().field, field);
    }
    for field in ["spread_bps", "order_size", "layers", "layer_step_bps", "refresh_tolerance_bps"] {
        let mut input = good();
        input.as_object_mut().unwrap().remove(field);
        let error = Parameters::read(input).unwrap_err();
        assert_eq!((error.field.as_str(), error.expected.contains("missing")), (field, true));
    }
    assert_eq!(parameters(&json!({"max_base": null})).max_base, None);
    assert_eq!(parameters(&json!({"layer_step_bps": 9_949})).layer_step_bps, 9_949);
}
