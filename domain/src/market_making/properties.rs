//! Goal: whatever the market, the balances, the parameters and the open orders are, the rules hold. What an order costs and
//! where it belongs is worked out here once more, in decimals.

use proptest::{
    collection::vec,
    option,
    prelude::{Just, Strategy, any},
    prop_assert, prop_assert_eq, prop_oneof, proptest,
    sample::select,
};
use rust_decimal::{Decimal, RoundingStrategy};

use super::{OpenOrder, Parameters, View, Wish, quote};
use crate::{Amount, BusinessId, Filters, Side};

fn amount(value: Decimal) -> Amount {
    value.to_string().parse().unwrap()
}

fn dec(value: Amount) -> Decimal {
    value.into()
}

#[derive(Clone, Debug)]
struct Case {
    parameters: Parameters,
    filters: Filters,
    view: View,
}

fn cents(range: std::ops::Range<i64>) -> impl Strategy<Value = Decimal> {
    range.prop_map(|cents| Decimal::new(cents, 2))
}

fn filters() -> impl Strategy<Value = Filters> {
    let ticks = select(vec!["0", "0.01", "0.05", "0.3", "1", "7"]);
    let lots = select(vec!["0", "0.0001", "0.01", "0.7"]);
    (ticks, lots, 0_u32..=8, cents(0..100), cents(0..2_000)).prop_map(
        |(tick, step, quote_decimals, least, least_notional)| Filters {
            pair: "ETH/USDT".parse().unwrap(),
            min_price: Filters::bound("2").unwrap(),
            max_price: Filters::bound("1100").unwrap(),
            tick: Filters::bound(tick).unwrap(),
            min_quantity: Filters::bound(&least.to_string()).unwrap(),
            max_quantity: Filters::bound("15").unwrap(),
            step: Filters::bound(step).unwrap(),
            min_notional: Filters::bound(&least_notional.to_string()).unwrap(),
            quote_decimals,
        },
    )
}

fn parameters() -> impl Strategy<Value = Parameters> {
    let tolerance = prop_oneof![Just(0), 0_u64..100, Just(10_000)];
    (1_u64..500, cents(1..2_000), 1_u64..=10, 1_u64..300, tolerance, option::of(cents(1..6_000))).prop_map(
        |(spread_bps, size, layers, layer_step_bps, refresh_tolerance_bps, max_base)| Parameters {
            spread_bps,
            order_size: amount(size),
            layers,
            layer_step_bps,
            refresh_tolerance_bps,
            max_base: max_base.map(amount),
        },
    )
}

/// Orders anywhere around the price, also where none could be: on the wrong side, on each other, off the tick.
fn orders(price: Decimal) -> impl Strategy<Value = Vec<OpenOrder>> {
    let order = (any::<bool>(), 9_000_i64..11_000, cents(1..2_000)).prop_map(move |(buys, bps, remaining)| {
        let side = if buys == (bps < 10_050) { Side::Buy } else { Side::Sell };
        (side, amount((price * Decimal::new(bps, 4)).round_dp(2).max(Decimal::new(1, 2))), amount(remaining))
    });
    vec(order, 0..12).prop_map(|orders| {
        let named = |(place, (side, price, remaining))| {
            let id = BusinessId::try_from(format!("i-{place}")).unwrap();
            OpenOrder { id, side, price, remaining }
        };
        orders.into_iter().enumerate().map(named).collect()
    })
}

fn case() -> impl Strategy<Value = Case> {
    let market = (cents(100..100_000), -5_i64..500);
    market.prop_flat_map(|(bid, gap)| {
        let ask = bid + Decimal::new(gap, 2);
        (parameters(), filters(), orders(bid), cents(0..10_000), cents(0..2_000_000)).prop_map(
            move |(parameters, filters, open, available_base, available_quote)| {
                let view = View {
                    best_bid: Some(amount(bid)),
                    best_ask: Some(amount(ask)),
                    open,
                    available_base,
                    available_quote,
                };
                Case { parameters, filters, view }
            },
        )
    })
}

impl Case {
    fn wishes(&self) -> Vec<Wish> {
        quote(&self.parameters, &self.filters, &self.view)
    }

    /// What an order takes: of the base, and of the quote.
    fn takes(&self, side: Side, price: Amount, quantity: Amount) -> (Decimal, Decimal) {
        let cost = (dec(price) * dec(quantity))
            .round_dp_with_strategy(self.filters.quote_decimals, RoundingStrategy::AwayFromZero);
        if side == Side::Buy { (Decimal::ZERO, cost) } else { (dec(quantity), Decimal::ZERO) }
    }

    /// The same case once its wishes are fulfilled.
    fn fulfilled(mut self, wishes: &[Wish]) -> Self {
        for (place, wish) in wishes.iter().enumerate() {
            let (order, back) = match wish {
                Wish::Cancel { id } => {
                    let place = self.view.open.iter().position(|order| order.id == *id).expect("it is open");
                    (self.view.open.remove(place), Decimal::ONE)
                }
                Wish::Place { side, price, quantity } => {
                    let id = BusinessId::try_from(format!("n-{place}-{}", self.view.open.len())).unwrap();
                    let order = OpenOrder { id, side: *side, price: *price, remaining: *quantity };
                    self.view.open.push(order.clone());
                    (order, -Decimal::ONE)
                }
            };
            let (base, quote) = self.takes(order.side, order.price, order.remaining);
            self.view.available_base += base * back;
            self.view.available_quote += quote * back;
        }
        self
    }

    fn open(&self, side: Side) -> impl Iterator<Item = &OpenOrder> {
        self.view.open.iter().filter(move |order| order.side == side)
    }

    /// The base held, and all that may still be bought.
    fn exposure(&self) -> Decimal {
        self.view.available_base + self.view.open.iter().map(|order| dec(order.remaining)).sum::<Decimal>()
    }
}

fn placed(wishes: &[Wish]) -> impl Iterator<Item = (Side, Amount, Amount)> {
    wishes.iter().filter_map(|wish| match wish {
        Wish::Place { side, price, quantity } => Some((*side, *price, *quantity)),
        Wish::Cancel { .. } => None,
    })
}

fn cancels(wishes: &[Wish]) -> usize {
    wishes.iter().take_while(|wish| matches!(wish, Wish::Cancel { .. })).count()
}

proptest! {
    #![proptest_config(proptest::test_runner::Config { failure_persistence: None, cases: 2_000, ..Default::default() })]

    #[test]
    fn cancels_come_first_and_what_is_placed_passes_the_filters(case in case()) {
        let wishes = case.wishes();
        prop_assert_eq!(cancels(&wishes) + placed(&wishes).count(), wishes.len());
        for (_, price, quantity) in placed(&wishes) {
            prop_assert_eq!(case.filters.check(price, quantity), Ok(()));
        }
    }

    #[test]
    fn no_order_takes_from_the_book(case in case()) {
        let (bid, ask) = case.view.best_bid.zip(case.view.best_ask).unwrap();
        for (side, price, _) in placed(&case.wishes()) {
            prop_assert!(bid < ask);
            let takes = if side == Side::Buy { price >= ask } else { price <= bid };
            prop_assert!(!takes, "{side} at {price}: {bid}..{ask}");
        }
    }

    #[test]
    fn no_order_meets_another_of_our_own(case in case()) {
        if case.view.best_bid >= case.view.best_ask {
 return Ok(());
}
        let wishes = case.wishes();
        // What is being cancelled is still there when the new ones come.
        for (side, price, _) in placed(&wishes) {
            for other in case.view.open.iter().filter(|order| order.side != side) {
                let (buy, sell) = if side == Side::Buy { (price, other.price) } else { (other.price, price) };
                prop_assert!(buy < sell, "a {side} at {price} meets {other:?}");
            }
        }
        let after = case.fulfilled(&wishes);
        let highest_buy = after.open(Side::Buy).map(|order| order.price).max();
        let lowest_sell = after.open(Side::Sell).map(|order| order.price).min();
        prop_assert!(highest_buy.zip(lowest_sell).is_none_or(|(buy, sell)| buy < sell), "{highest_buy:?} {lowest_sell:?}");
    }

    #[test]
    fn orders_take_no_more_than_there_is_before_anything_is_cancelled(case in case()) {
        let wishes = case.wishes();
        let takes: Vec<_> = placed(&wishes).map(|(side, price, quantity)| case.takes(side, price, quantity)).collect();
        prop_assert!(takes.iter().map(|takes| takes.0).sum::<Decimal>() <= case.view.available_base);
        prop_assert!(takes.iter().map(|takes| takes.1).sum::<Decimal>() <= case.view.available_quote);
    }

    #[test]
    fn nothing_is_bought_beyond_the_most_that_is_to_be_held(case in case()) {
        let Some(max) = case.parameters.max_base.map(dec) else { return Ok(()) };
        if case.view.best_bid >= case.view.best_ask {
 return Ok(());
}
        let wishes = case.wishes();
        let bought: Decimal = placed(&wishes).filter(|order| order.0 == Side::Buy).map(|order| dec(order.2)).sum();
        prop_assert!(bought.is_zero() || case.exposure() + bought <= max);
        let after = case.fulfilled(&wishes);
        prop_assert!(after.open(Side::Buy).next().is_none() || after.exposure() <= max);
    }

    #[test]
    fn a_side_has_no_more_orders_than_layers(case in case()) {
        if case.view.best_bid >= case.view.best_ask {
 return Ok(());
}
        let layers = usize::try_from(case.parameters.layers).unwrap();
        let wishes = case.wishes();
        let after = case.fulfilled(&wishes);
        for side in Side::ALL {
            prop_assert!(after.open(side).count() <= layers);
        }
    }

    #[test]
    fn once_its_wishes_are_fulfilled_there_is_no_other(case in case()) {
        let wishes = case.wishes();
        let again = case.clone().fulfilled(&wishes);
        let rest = again.wishes();
        // Only what waited for a cancel is left, and it needs no further one.
        prop_assert!(rest.is_empty() || cancels(&wishes) > 0, "{rest:?} after {wishes:?}");
        prop_assert_eq!(cancels(&rest), 0, "{:?} after {:?}", rest, wishes);
        prop_assert_eq!(again.fulfilled(&rest).wishes(), vec![]);
    }

    #[test]
    fn with_money_enough_each_level_has_one_order_at_its_price_and_what_is_near_one_stays(case in case()) {
        let (bid, ask) = case.view.best_bid.zip(case.view.best_ask).unwrap();
        if bid >= ask {
 return Ok(());
}
        let rich = View { open: vec![], available_base: 1_000.into(), available_quote: 10_000_000.into(), ..case.view.clone() };
        let free = Filters { min_price: None, max_price: None, min_quantity: None, max_quantity: None, min_notional: None,
            ..case.filters.clone() };
        let parameters = Parameters { max_base: None, ..case.parameters.clone() };
        if free.round_quantity_down(parameters.order_size).is_none() {
 return Ok(());
}
        let wishes = quote(&parameters, &free, &rich);
        let mid = (dec(bid) + dec(ask)) / Decimal::TWO;
        let unit = case.filters.tick.map_or(Decimal::new(1, 18), dec);
        for side in Side::ALL {
            let prices: Vec<_> = placed(&wishes).filter(|order| order.0 == side).map(|order| dec(order.1)).collect();
            let mut wanted: Vec<_> = (0..parameters.layers)
                .map(|layer| {
                    let bps = Decimal::from(parameters.spread_bps) / Decimal::TWO
                        + Decimal::from(layer * parameters.layer_step_bps);
                    let way = if side == Side::Buy { -bps } else { bps };
                    let exact = mid + mid * way / Decimal::from(10_000);
                    let ticks = exact / unit;
                    (if side == Side::Buy { ticks.floor() } else { ticks.ceil() }) * unit
                })
                .filter(|price| *price > Decimal::ZERO)
                .collect();
            wanted.dedup();
            prop_assert_eq!(&prices, &wanted);
            let tolerance = Decimal::new(i64::try_from(parameters.refresh_tolerance_bps).unwrap(), 4);
            let after = case.clone().fulfilled(&case.wishes());
            for order in after.open(side) {
                let price = dec(order.price);
                prop_assert!(wanted.iter().any(|wanted| (price - wanted).abs() <= wanted * tolerance));
            }
        }
    }
}
