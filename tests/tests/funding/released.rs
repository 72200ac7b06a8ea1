//! Goal: an operator releases a funded order at the command line, and its user's strategy trades with the money.

use std::process::Output;

use backstop_tests::{World, world::program};
use tokio::process::Command;

use crate::{assert_sound, id, tag};

async fn release(world: &World, order: &str, reason: &str) -> Output {
    let mut command = Command::new(program("backstop"));
    command.args(["funding", "release", "--order", order, "--by", "olga", "--reason", reason]);
    command.env("DATABASE_URL", world.database.url()).output().await.unwrap()
}

#[tokio::test]
async fn a_funded_order_is_released_at_the_command_line_once_and_traded_with() {
    let world = World::watched().await;
    let order = world.funding().await;
    let user = order["user_id"].as_str().unwrap();
    world.start_any("FundOrder", &id(&order), &order).await;
    world.exchange.deposit(tag(&order), "BTC", "0.5").await;
    world.books_say("SELECT state FROM fundings WHERE 'funding/' || order_id = $1", &id(&order), "awaiting").await;
    let early = release(&world, tag(&order), "to trade").await;
    assert!(!early.status.success(), "{early:?}");
    assert!(String::from_utf8_lossy(&early.stderr).contains("awaiting"), "{early:?}");
    world.exchange.deposit(tag(&order), "USDT", "1000").await;
    assert_eq!(world.end_of(&id(&order)).await.kind(), "funded");
    for said in ["is released now: 0.5 BTC, 1000 USDT of user", "was released before"] {
        let released = release(&world, tag(&order), "to trade").await;
        assert!(released.status.success(), "{released:?}");
        assert!(String::from_utf8_lossy(&released.stdout).contains(said), "{released:?}");
    }
    assert_eq!(world.holds(user, "BTC").await, "1.5 + 0");
    assert_eq!(world.holds(user, "USDT").await, "1000 + 0");
    let strategy = world.strategy_of(user).await;
    world.place(&strategy, "buy", "10000", "0.1", true).await;
    assert_eq!(world.holds(user, "USDT").await, "0 + 1000");
    // Started again, it answers with the order as it is.
    assert_eq!(world.run_any("FundOrder", &id(&order), &order).await.kind(), "released");
    assert_sound(&world).await;
}
