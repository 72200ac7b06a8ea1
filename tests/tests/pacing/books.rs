//! Books with a venue that is paced, and orders to send.

use std::time::Duration;

use backstop_activities::books::{Books, BooksError, PlacedOrder, Priority, Slot};
use backstop_domain::Refusal;
use backstop_tests::Database;
use sqlx::PgConnection;

pub(crate) const VENUE: &str = "binance";
pub(crate) const STRATEGY: &str = "mm-1";
pub(crate) const HOLDER: &str = "workflow-1";
pub(crate) const LONG: Duration = Duration::from_secs(3_600);
/// So long that nothing here waits for its end: what has to be over is made to be.
pub(crate) const MINUTE: i32 = 60_000;

pub(crate) struct Desk {
    pub(crate) database: Database,
    pub(crate) books: Books,
    pub(crate) owner: PgConnection,
}

impl Desk {
    /// Books with a strategy of alice's that runs, and this pace.
    pub(crate) async fn paced(min_interval_ms: i32) -> Self {
        let database = Database::create().await;
        let (books, owner) = (database.books(4).await, database.owner().await);
        let start = sqlx::query("SELECT strategy_start($1, 'alice', $2, 'BTC', 'USDT', '{}', 'olga')");
        start.bind(STRATEGY).bind(VENUE).execute(books.pool()).await.unwrap();
        books.venue_pace_set(VENUE, min_interval_ms).await.unwrap();
        Self { database, books, owner }
    }

    /// Opens an order.
    pub(crate) async fn opened(&self, order_id: &str) {
        assert!(self.books.order_open(&order(order_id)).await.unwrap());
    }

    /// The window of the venue's next slot is open now.
    pub(crate) async fn open_window(&mut self) {
        self.owner_says("UPDATE venues SET next_at = clock_timestamp()").await;
    }

    pub(crate) async fn owner_says(&mut self, sql: &'static str) {
        assert!(sqlx::query(sql).execute(&mut self.owner).await.unwrap().rows_affected() > 0, "touched nothing: {sql}");
    }

    pub(crate) async fn count(&mut self, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql).fetch_one(&mut self.owner).await.unwrap()
    }

    pub(crate) async fn texts(&mut self, sql: &'static str) -> Vec<String> {
        sqlx::query_scalar(sql).fetch_all(&mut self.owner).await.unwrap()
    }

    /// A further process, as the books see it.
    pub(crate) async fn process(&self) -> Books {
        self.database.books(4).await
    }
}

pub(crate) fn order(order_id: &str) -> PlacedOrder<'_> {
    PlacedOrder { order_id, holder: HOLDER, strategy_key: STRATEGY, side: "sell", price: "30000", quantity: "0.001" }
}

pub(crate) async fn attempt(books: &Books, order_id: &str) -> Result<Slot<i64>, BooksError> {
    books.order_attempt(order_id, HOLDER, LONG, LONG).await
}

/// Asks for a slot: when it is, or else how long to wait.
pub(crate) async fn ask(books: &Books, priority: Priority) -> Result<i64, Duration> {
    match books.venue_slot(VENUE, priority).await.unwrap() {
        Slot::Granted { value, .. } => Ok(value),
        Slot::Later { wait, .. } => Err(wait),
    }
}

#[track_caller]
pub(crate) fn refusal<T>(result: Result<T, BooksError>) -> Refusal {
    match result {
        Ok(_) => panic!("it was not refused"),
        Err(error) => error.refusal().unwrap_or_else(|| panic!("no refusal: {error}")).clone(),
    }
}
