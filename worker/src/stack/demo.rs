use std::time::Duration;

use anyhow::{Context, Result, bail};
use backstop_activities::{
    books::{Books, MIGRATIONS, PlacedOrder, Priority},
    pacing::Lane,
    venue::{NewOrder, OrderKind, SendOutcome, Side, Spot, TimeInForce},
};
use serde_json::json;
use sqlx::{Connection, Executor, PgConnection, postgres::PgConnectOptions};

/// Brings the books to this version, lets the worker's role log in, and makes the demo world.
///
/// # Errors
/// When the books refuse.
pub async fn prepare_books(owner: &PgConnectOptions, database: &str) -> Result<()> {
    let mut connection = PgConnection::connect_with(&owner.clone().database("postgres")).await?;
    let exists: bool = sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)")
        .bind(database)
        .fetch_one(&mut connection)
        .await?;
    if !exists {
        let statement = format!("CREATE DATABASE \"{}\"", database.replace('"', "\"\""));
        connection.execute(sqlx::AssertSqlSafe(statement)).await.context("creating the database")?;
    }
    let mut connection = PgConnection::connect_with(&owner.clone().database(database)).await?;
    MIGRATIONS.run(&mut connection).await.context("migrating the books")?;
    connection.execute("ALTER ROLE backstop_worker LOGIN").await?;
    connection.execute(include_str!("demo.sql")).await.context("making the demo world")?;
    Ok(())
}

/// The demo strategy.
pub(super) const STRATEGY: &str = "alice-mm";
/// Its orders, far from the market: client id, side, price, quantity.
const ORDERS: [(&str, &str, &str, &str); 3] = [
    ("demo-alice-sell-1", "sell", "120000", "1"),
    ("demo-alice-sell-2", "sell", "125000", "0.5"),
    ("demo-alice-buy-1", "buy", "80000", "0.02"),
];
const HOLDER: &str = "demo";
/// How long after its timestamp the exchange takes an order, and how long after that it may not show it yet.
const WINDOW: Duration = Duration::from_secs(2);
const VISIBILITY: Duration = Duration::from_secs(3);

/// Gives alice a strategy with open orders, once: each is reserved, recorded and sent as any order is.
///
/// # Errors
/// When the books or the exchange refuse.
pub(super) async fn place_demo_orders(books: &Books, lane: &Lane, exchange: &dyn Spot) -> Result<()> {
    let known: Option<String> = sqlx::query_scalar("SELECT strategy_key FROM strategies WHERE strategy_key = $1")
        .bind(STRATEGY)
        .fetch_optional(books.pool())
        .await?;
    if known.is_some() {
        return Ok(());
    }
    let parameters = json!({"note": "three resting orders, placed when the demo world was made"});
    books.strategy_start(STRATEGY, "alice", ("binance", "BTC", "USDT"), &parameters, HOLDER).await?;
    for (order_id, side, price, quantity) in ORDERS {
        let order = PlacedOrder { order_id, holder: HOLDER, strategy_key: STRATEGY, side, price, quantity };
        books.order_open(&order).await?;
        let ask = || books.order_attempt(order_id, HOLDER, WINDOW, VISIBILITY);
        let forfeit = |signed_at_ms| async move {
            books.order_not_sent(order_id, HOLDER, signed_at_ms, "it overslept its slot").await.map(drop)
        };
        let signed_at_ms = lane.turn(Priority::Send, ask, forfeit).await?;
        let order = NewOrder {
            client_id: order_id,
            symbol: "BTCUSDT",
            side: if side == "buy" { Side::Buy } else { Side::Sell },
            kind: OrderKind::Limit { price, time_in_force: TimeInForce::GoodTillCancelled },
            quantity,
        };
        match exchange.place(order, signed_at_ms).await {
            SendOutcome::Done(id) => books.order_place(order_id, &id).await?,
            other => bail!("the exchange did not take {order_id}: {other:?}"),
        };
    }
    Ok(())
}
