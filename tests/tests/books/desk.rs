//! What the tests of the books share: books of their own, orders, and ways to look at what a call left behind.

use std::time::Duration;

use backstop::stack::wait_until;
use backstop_activities::books::{AttemptPermit, Books, BooksError, PayoutStanding};
use backstop_domain::{
    BusinessId, Destination, PayoutId, Refusal, RefusalKind, Resolution, Verdict,
    machine::AttemptEvent,
    payout::{PaidRecord, PayoutKind, PayoutOrder, PayoutRef},
};
use backstop_tests::{Database, books_checker};
use serde_json::Value;
use sqlx::{AssertSqlSafe, PgConnection};

/// How long anything may take that is waited for.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);
/// An attempt with this window is void 1 ms after it was signed.
pub(crate) const SHORT: Duration = Duration::from_millis(1);
/// A lookup that begins now, whenever that is: the books take no later time than their own.
pub(crate) const ASKED_NOW: i64 = i64::MAX;
/// An attempt with this window outlives its test.
pub(crate) const LONG: Duration = Duration::from_secs(3_600);
pub(crate) const ADDRESS: &str = "bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq";
/// The workflow that carries every payout here, unless a test is about another.
pub(crate) const HOLDER: &str = "workflow-1";

/// Books of one test, where alice has 2 BTC and bob has 0.5.
pub(crate) struct Desk {
    pub(crate) database: Database,
    pub(crate) books: Books,
    pub(crate) owner: PgConnection,
}

pub(crate) fn id(text: &str) -> BusinessId {
    BusinessId::try_from(text.to_owned()).unwrap()
}

/// Alice wants some BTC back.
pub(crate) fn order(payout: &str, amount: &str) -> PayoutOrder {
    PayoutOrder {
        payout_id: PayoutId::refund(&id(payout)),
        kind: PayoutKind::Refund,
        holder: HOLDER.into(),
        user_id: id("alice"),
        asset_id: id("BTC"),
        amount: amount.parse().unwrap(),
        destination: Destination { network: id("BTC"), address: id(ADDRESS), tag: None },
        reason: Some(id("order cancelled")),
        requested_by: None,
        input: Value::Null,
    }
}

pub(crate) fn held(order: &PayoutOrder) -> PayoutRef {
    PayoutRef { payout_id: order.payout_id.clone(), holder: order.holder.clone() }
}

pub(crate) fn paid(reference: &str, received: &str, fee: &str) -> PaidRecord {
    PaidRecord {
        venue_reference: reference.into(),
        received: received.into(),
        network_fee: fee.into(),
        tx_id: Some(format!("tx-{reference}")),
    }
}

/// Ann's word on a payout.
pub(crate) fn word(verdict: Verdict) -> Resolution {
    let executed = verdict == Verdict::Executed;
    Resolution {
        verdict,
        evidence: id("ticket 7"),
        operator: id("ann"),
        venue_reference: executed.then(|| id("w-7")),
        network_fee: executed.then(|| "0.001".parse().unwrap()),
    }
}

/// The refusal that the call must have ended with.
#[track_caller]
pub(crate) fn refusal<T>(result: Result<T, BooksError>) -> Refusal {
    match result {
        Ok(_) => panic!("it was not refused"),
        Err(error) => error.refusal().unwrap_or_else(|| panic!("no refusal: {error}")).clone(),
    }
}

/// Asserts what kind of refusal it was, and what one field of its detail says.
#[track_caller]
pub(crate) fn assert_refused<T>(result: Result<T, BooksError>, kind: RefusalKind, field: &str, says: &str) {
    let refusal = refusal(result);
    assert_eq!((refusal.kind, refusal.detail[field].as_str()), (kind, Some(says)), "{refusal:?}");
}

impl Desk {
    pub(crate) async fn open() -> Self {
        let database = Database::create().await;
        let (books, owner) = (database.books(4).await, database.owner().await);
        Self { database, books, owner }
    }

    /// Opens a payout and gives leave to send it.
    pub(crate) async fn attempted(&self, order: &PayoutOrder, visibility: Duration) -> AttemptPermit {
        self.books.payout_open(order).await.unwrap();
        self.books.payout_attempt(&held(order), SHORT, visibility).await.unwrap().granted().expect("a slot")
    }

    /// Opens a payout whose only attempt never left: nothing is live, and another may follow.
    pub(crate) async fn unsent(&self, order: &PayoutOrder) {
        self.attempted(order, LONG).await;
        self.outcome(order, 1, AttemptEvent::NotSend).await;
    }

    pub(crate) async fn outcome(&self, order: &PayoutOrder, attempt: i32, event: AttemptEvent) {
        let reference = (event == AttemptEvent::Accept).then_some("w-1");
        self.books.payout_attempt_outcome(&held(order), attempt, event, "said so", reference).await.unwrap();
    }

    pub(crate) async fn settle(&self, order: &PayoutOrder, record: &PaidRecord) -> PayoutStanding {
        self.books.payout_settle(&held(order), record).await.unwrap()
    }

    pub(crate) async fn standing(&self, order: &PayoutOrder) -> PayoutStanding {
        self.books.payout(&order.payout_id).await.unwrap()
    }

    pub(crate) async fn freeze(&self, owner: &str, by: &str) -> bool {
        let query = sqlx::query_scalar("SELECT account_freeze($1, 'BTC', $2)").bind(owner).bind(by);
        query.fetch_one(self.books.pool()).await.unwrap()
    }

    pub(crate) async fn unfreeze(&self, owner: &str) -> bool {
        let query = sqlx::query_scalar("SELECT account_unfreeze($1, 'BTC', 'ann', 'ticket 8')").bind(owner);
        query.fetch_one(self.books.pool()).await.unwrap()
    }

    /// Ann corrects a BTC balance.
    pub(crate) async fn adjust(&self, adjustment: &str, owner: &str, delta: &str) -> Result<bool, BooksError> {
        let sql = "SELECT adjustment_post($1, 'ann', 'ticket 9', $2, 'BTC', $3::numeric)";
        Ok(sqlx::query_scalar(sql).bind(adjustment).bind(owner).bind(delta).fetch_one(self.books.pool()).await?)
    }

    /// Waits until the time of every live attempt is over by the books' clock. Returns that clock, in ms.
    pub(crate) async fn past_every_attempt(&mut self) -> i64 {
        let mut now = 0;
        let over = wait_until(DEADLINE, async || {
            let sql = "SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint AS now,
                              coalesce(max(ceil(extract(epoch FROM void_after) * 1000)), 0)::bigint
                         FROM payout_attempts WHERE outcome IN ('pending', 'unknown', 'accepted')";
            let (clock, until): (i64, i64) = sqlx::query_as(sql).fetch_one(&mut self.owner).await.unwrap();
            now = clock;
            clock > until
        });
        assert!(over.await, "the attempts' time is not over");
        now
    }

    /// Waits until so many connections to this database wait for a lock.
    pub(crate) async fn until_waiting(&mut self, connections: i64) {
        let mut observer = self.database.owner().await;
        let waiting = wait_until(DEADLINE, async || {
            let sql = "SELECT count(*) FROM pg_stat_activity
                        WHERE datname = current_database() AND wait_event_type = 'Lock'";
            sqlx::query_scalar::<_, i64>(sql).fetch_one(&mut observer).await.unwrap() >= connections
        });
        assert!(waiting.await, "nobody waits");
    }

    /// The books' clock, ms since 1970.
    pub(crate) async fn now_ms(&mut self) -> i64 {
        let sql = "SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint";
        sqlx::query_scalar(sql).fetch_one(&mut self.owner).await.unwrap()
    }

    /// Waits until the books' clock is past this time.
    pub(crate) async fn until_ms(&mut self, ms: i64) {
        let past = wait_until(DEADLINE, async || {
            let sql = "SELECT extract(epoch FROM clock_timestamp()) * 1000 > $1";
            sqlx::query_scalar(sql).bind(ms).fetch_one(&mut self.owner).await.unwrap()
        });
        assert!(past.await, "the books' clock stands still");
    }

    /// What a user has: available and locked BTC.
    pub(crate) async fn balance(&mut self, owner: &str) -> (String, String) {
        let sql = "SELECT trim_scale(available)::text, trim_scale(locked)::text FROM accounts
                    WHERE owner = $1 AND asset = 'BTC'";
        sqlx::query_as(sql).bind(owner).fetch_one(&mut self.owner).await.unwrap()
    }

    pub(crate) async fn available(&mut self, owner: &str) -> String {
        self.balance(owner).await.0
    }

    /// The open findings, as `kind subject`, oldest first.
    pub(crate) async fn findings(&mut self) -> Vec<String> {
        self.texts("SELECT kind || ' ' || subject FROM findings WHERE state = 'open' ORDER BY id").await
    }

    /// What was announced of business rows, as `aggregate kind`, oldest first; the demo world's own deposits left out.
    pub(crate) async fn announced(&mut self) -> Vec<String> {
        let sql = "SELECT aggregate || ' ' || kind FROM outbox
                    WHERE aggregate NOT LIKE '%/demo-%' AND aggregate NOT LIKE 'finding/%' ORDER BY id";
        self.texts(sql).await
    }

    /// What people did by hand, as `act subject operator evidence`, oldest first.
    pub(crate) async fn acts(&mut self) -> Vec<String> {
        self.texts("SELECT concat_ws(' ', act, subject, operator, evidence) FROM operator_acts ORDER BY id").await
    }

    pub(crate) async fn texts(&mut self, sql: &'static str) -> Vec<String> {
        sqlx::query_scalar(sql).fetch_all(&mut self.owner).await.unwrap()
    }

    /// Runs a statement as the owner, whom no trigger and no foreign key holds back here.
    pub(crate) async fn damage(&mut self, sql: &str) {
        sqlx::raw_sql("SET session_replication_role = replica").execute(&mut self.owner).await.unwrap();
        let done = sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut self.owner).await.unwrap();
        assert!(done.rows_affected() > 0, "touched nothing: {sql}");
        sqlx::raw_sql("RESET session_replication_role").execute(&mut self.owner).await.unwrap();
    }

    /// Everything in the books: two of these are equal when nothing was changed in between.
    pub(crate) async fn everything(&mut self) -> Value {
        let sql = "SELECT jsonb_build_object(
            'accounts', (SELECT jsonb_agg(to_jsonb(t) ORDER BY id) FROM accounts AS t),
            'entries', (SELECT jsonb_agg(to_jsonb(t) ORDER BY account, version) FROM entries AS t),
            'outbox', (SELECT jsonb_agg(to_jsonb(t) ORDER BY id) FROM outbox AS t WHERE aggregate NOT LIKE 'finding/%'),
            'findings', (SELECT jsonb_agg(to_jsonb(t) ORDER BY id) FROM findings AS t),
            'acts', (SELECT jsonb_agg(to_jsonb(t) ORDER BY id) FROM operator_acts AS t),
            'payouts', (SELECT jsonb_agg(to_jsonb(t) ORDER BY payout_id) FROM payouts AS t),
            'attempts', (SELECT jsonb_agg(to_jsonb(t) ORDER BY payout_id, attempt) FROM payout_attempts AS t),
            'deposits', (SELECT jsonb_agg(to_jsonb(t) ORDER BY deposit_id) FROM deposits AS t),
            'reservations', (SELECT jsonb_agg(to_jsonb(t) ORDER BY reservation_id) FROM reservations AS t),
            'destinations', (SELECT jsonb_agg(to_jsonb(t) ORDER BY t::text) FROM destinations AS t),
            'fundings', (SELECT jsonb_agg(to_jsonb(t) ORDER BY order_id) FROM fundings AS t),
            'needs', (SELECT jsonb_agg(to_jsonb(t) ORDER BY order_id, asset) FROM funding_needs AS t),
            'parts', (SELECT jsonb_agg(to_jsonb(t) ORDER BY reservation_id) FROM funding_parts AS t),
            'routes', (SELECT jsonb_agg(to_jsonb(t) ORDER BY venue, tag) FROM deposit_routes AS t),
            'strategies', (SELECT jsonb_agg(to_jsonb(t) ORDER BY strategy_key) FROM strategies AS t),
            'orders', (SELECT jsonb_agg(to_jsonb(t) ORDER BY order_id) FROM orders AS t),
            'fills', (SELECT jsonb_agg(to_jsonb(t) ORDER BY order_id, trade_id) FROM fills AS t),
            'suspended_fills', (SELECT jsonb_agg(to_jsonb(t) ORDER BY trade_id) FROM suspended_fills AS t),
            'intents', (SELECT jsonb_agg(to_jsonb(t) ORDER BY intent_id) FROM intents AS t),
            'receipts', (SELECT jsonb_agg(to_jsonb(t) ORDER BY consumer, key) FROM receipts AS t),
            'gates', (SELECT jsonb_agg(to_jsonb(t) ORDER BY scope) FROM gates AS t),
            'halts', (SELECT jsonb_agg(to_jsonb(t) ORDER BY scope) FROM halts AS t),
            'pauses', (SELECT jsonb_agg(to_jsonb(t) ORDER BY operation_id) FROM pauses AS t),
            'rewards', (SELECT jsonb_agg(to_jsonb(t) ORDER BY reward_id) FROM rewards AS t),
            'allocations', (SELECT jsonb_agg(to_jsonb(t) ORDER BY reward_id, owner) FROM reward_allocations AS t),
            'watermarks', (SELECT jsonb_agg(to_jsonb(t) ORDER BY name) FROM watermarks AS t),
            'adjustments', (SELECT jsonb_agg(to_jsonb(t) ORDER BY adjustment_id) FROM adjustments AS t))";
        sqlx::query_scalar(sql).fetch_one(&mut self.owner).await.unwrap()
    }

    pub(crate) async fn assert_sound(&mut self) {
        let deviations = books_checker::check(&mut self.owner).await;
        assert!(deviations.is_empty(), "{deviations:#?}");
        // Reconciliation has no other opinion.
        let faults =
            self.texts("SELECT format('%s/%s: %s', key, line, fault) FROM entry_faults WHERE fault IS NOT NULL");
        assert_eq!(faults.await, Vec::<String>::new());
    }
}
