//! Goal: what a tick asks of the venue does not grow with its open orders, and a tick is over before the next begins.

use backstop::stack::wait_until;
use backstop_tests::{World, intents::ORDER, world::DEADLINE};
use serde_json::{Value, json};

use crate::{Maker, assert_over, is_open};

const OPEN_ORDERS: &str = "/api/v3/openOrders";
const TRADES: &str = "/api/v3/myTrades";
const ALWAYS: u32 = 1_000_000;

/// How often the strategy was synced.
fn syncs(world: &World) -> usize {
    world.passed().iter().filter(|name| *name == "strategy_sync.after").count()
}

async fn syncs_again(world: &World, times: usize) {
    let before = syncs(world);
    assert!(wait_until(DEADLINE, async || syncs(world) >= before + times).await, "it does not tick");
}

#[tokio::test]
async fn a_quiet_tick_asks_for_all_orders_at_once_and_for_nothing_else_of_them() {
    const LAYERS: usize = 8;
    let world = World::new().await;
    let mut maker = Maker::of(&world, 500).await;
    maker.input["parameters"]["layers"] = json!(LAYERS);
    maker.start(&world).await;
    maker.has_quotes(&world, 2 * LAYERS).await;
    maker.shows(&world, "quote", "nothing to do").await;
    let (ticks, asked) = (syncs(&world), world.exchange.log().await.len());
    syncs_again(&world, 5).await;
    let log = world.exchange.log().await.split_off(asked);
    // One tick may have begun before, and one has begun since.
    let ticks = syncs(&world) - ticks + 2;
    let of = |path: &str| log.iter().filter(|request| request["path"] == path).count();
    assert!((5..=ticks).contains(&of(OPEN_ORDERS)), "{} in {ticks} ticks", of(OPEN_ORDERS));
    assert_eq!((of(ORDER), of(TRADES)), (0, 0), "{log:#?}");
    maker.stop(&world).await;
    assert_over(&world, &maker).await;
}

#[tokio::test]
async fn where_open_orders_are_not_listed_each_is_looked_up_and_what_it_traded_is_booked() {
    let world = World::new().await;
    let maker = Maker::of(&world, 500).await;
    maker.start(&world).await;
    maker.has_quotes(&world, 4).await;
    maker.shows(&world, "quote", "nothing to do").await;
    let fault = json!({"fault": "status", "status": 500, "times": ALWAYS});
    world.exchange.fault_for_all(OPEN_ORDERS, fault).await;
    let orders = world.exchange.all_orders().await;
    let open: Vec<&Value> = orders.iter().filter(|order| is_open(order)).collect();
    let sold =
        "SELECT concat_ws(' ', state, (SELECT trim_scale(sum(f.base)) FROM fills AS f WHERE f.order_id = o.order_id))
                  FROM orders AS o WHERE order_id = $1";
    for (order, traded, says) in [(open[0], "0.004", "placed 0.004"), (open[1], "0.01", "ended 0.01")] {
        let id = order["client_id"].as_str().unwrap();
        world.exchange.fill(id, json!({"qty": traded})).await;
        world.books_say(sold, id, says).await;
    }
    maker.shows(&world, "sync orders and fills", "could not be read").await;
    world.exchange.end_faults().await;
    maker.stop(&world).await;
    assert_over(&world, &maker).await;
}

#[tokio::test]
async fn a_sync_that_is_given_up_has_ended_when_the_next_begins() {
    let world = World::new().await;
    let maker = Maker::of(&world, 500).await;
    maker.start(&world).await;
    maker.has_quotes(&world, 4).await;
    maker.shows(&world, "quote", "nothing to do").await;
    // One look takes as long as two syncs may.
    let fault = json!({"fault": "status", "status": 500, "times": ALWAYS});
    world.exchange.fault_for_all(OPEN_ORDERS, fault).await;
    world.pace(4_000).await;
    syncs_again(&world, 3).await;
    let passed = world.passed();
    let syncs: Vec<&String> = passed.iter().filter(|name| name.starts_with("strategy_sync.")).collect();
    assert!(syncs.windows(2).all(|pair| pair[0] != pair[1]), "two at once: {syncs:?}");
    maker.shows(&world, "sync orders and fills", "not done within").await;
    world.exchange.end_faults().await;
    world.pace(0).await;
    maker.stop(&world).await;
    assert_over(&world, &maker).await;
}
