//! Goal: the worker changes the books only through the transition functions, and nobody rewrites what was written.

use backstop_domain::RefusalKind;
use sqlx::{AssertSqlSafe, PgConnection};

use crate::desk::{Desk, order};

/// All that the worker may call.
const CALLABLE: &[&str] = &[
    "account_deviation",
    "account_freeze",
    "account_unfreeze",
    "accounts_page",
    "adjustment_post",
    "adoption_note",
    "at_ms",
    "attempt_live",
    "books_news",
    "books_page",
    "check_deposits",
    "check_fills",
    "check_intents",
    "check_orders",
    "check_outbox",
    "check_reservations",
    "check_rewards",
    "check_settled",
    "check_strange_orders",
    "check_transit",
    "check_withdrawals",
    "custody_books",
    "custody_compared",
    "custody_explained",
    "custody_orders",
    "delivery_decide",
    "deposit_credit",
    "deposit_observe",
    "endpoint_add",
    "endpoint_remove",
    "entry_deviations",
    "entry_text",
    "event_id",
    "fill_book",
    "fill_suspend",
    "find",
    "finding_acknowledge",
    "findings_report",
    "found_by",
    "funding_expire",
    "funding_keep_refused",
    "funding_open",
    "funding_release",
    "funding_status",
    "gate_set",
    "halt",
    "halt_lift",
    "heads_digest",
    "heads_page",
    "house_position_set",
    "intent_abandon",
    "intent_cancel",
    "intent_check",
    "intent_claim",
    "intent_fail",
    "intent_finish",
    "intent_open",
    "intent_reserve",
    "intent_void",
    "news_end",
    "once",
    "order_abandon",
    "order_attempt",
    "order_end",
    "order_give_up",
    "order_not_sent",
    "order_open",
    "order_place",
    "order_void",
    "orders_to_compare",
    "outbox_relay",
    "pause_drained",
    "pause_end",
    "pause_open",
    "payout_abandon",
    "payout_attempt",
    "payout_attempt_outcome",
    "payout_attempts_vanish",
    "payout_escalate",
    "payout_open",
    "payout_resolve",
    "payout_restore",
    "payout_return",
    "payout_settle",
    "receipt",
    "reservation_open",
    "reservation_release",
    "reward_abandon",
    "reward_distribute",
    "seal",
    "seal_check",
    "seal_cursor",
    "seals_page",
    "strategy_open_ends",
    "strategy_pause",
    "strategy_run",
    "strategy_start",
    "strategy_stop",
    "stream_delivered",
    "stream_events",
    "stream_failed",
    "stream_lease",
    "stream_release",
    "venue_back_off",
    "venue_pace_set",
    "venue_slot",
    "watermark_set",
    "withdrawal_claim",
    "withdrawal_decide",
    "withdrawal_expire",
    "withdrawal_request",
];
const DENIED: &str = "42501";
const REWRITING: &str = "BS012";

/// The SQLSTATE that a statement fails with; empty when it works.
async fn fails_with(connection: &mut PgConnection, sql: String) -> String {
    match sqlx::raw_sql(AssertSqlSafe(sql)).execute(connection).await {
        Ok(_) => String::new(),
        Err(error) => error.as_database_error().and_then(|error| Some(error.code()?.into_owned())).unwrap(),
    }
}

#[tokio::test]
async fn the_worker_reads_every_table_and_writes_none() {
    let mut desk = Desk::open().await;
    let mut worker = desk.database.worker().await;
    let before = desk.everything().await;
    let tables = desk.texts("SELECT tablename::text FROM pg_tables WHERE schemaname = 'backstop' ORDER BY 1").await;
    assert!(
        ["accounts", "entries", "payouts"].iter().all(|name| tables.iter().any(|table| table == name)),
        "{tables:?}"
    );
    for table in &tables {
        let sql = format!(
            "SELECT attname::text FROM pg_attribute
              WHERE attrelid = 'backstop.{table}'::regclass AND attnum > 0 AND attgenerated = '' AND attidentity = '' LIMIT 1"
        );
        let column: String = sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&mut desk.owner).await.unwrap();
        assert_eq!(fails_with(&mut worker, format!("SELECT * FROM {table}")).await, "", "{table}");
        for statement in [
            format!("INSERT INTO {table} DEFAULT VALUES"),
            format!("UPDATE {table} SET {column} = {column}"),
            format!("DELETE FROM {table}"),
            format!("TRUNCATE {table} CASCADE"),
            format!("LOCK TABLE {table} IN EXCLUSIVE MODE"),
            format!("ALTER TABLE {table} DISABLE TRIGGER ALL"),
            format!("DROP TABLE {table} CASCADE"),
        ] {
            assert_eq!(fails_with(&mut worker, format!("BEGIN; {statement}; COMMIT")).await, DENIED, "{statement}");
            fails_with(&mut worker, "ROLLBACK".into()).await;
        }
    }
    assert_eq!(desk.everything().await, before);
}

#[tokio::test]
async fn the_worker_cannot_become_more_than_it_is() {
    let desk = Desk::open().await;
    let mut worker = desk.database.worker().await;
    for statement in [
        "SET session_replication_role = replica",
        "SET ROLE backstop_owner",
        "CREATE TABLE backstop.mine (x int)",
        "CREATE FUNCTION backstop.mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "SELECT nextval('backstop.accounts_id_seq')",
        "SELECT setval('backstop.outbox_id_seq', 1)",
        "ALTER ROLE backstop_worker SUPERUSER",
    ] {
        let code = fails_with(&mut worker, statement.into()).await;
        assert!(code == DENIED, "{statement}: {code:?}");
    }
}

#[tokio::test]
async fn the_worker_calls_the_transitions_and_no_internal_function() {
    let mut desk = Desk::open().await;
    let may = |role: &str| {
        AssertSqlSafe(format!(
            "SELECT DISTINCT proname::text FROM pg_proc
              WHERE pronamespace = 'backstop'::regnamespace AND has_function_privilege('{role}', oid, 'EXECUTE')
              ORDER BY 1"
        ))
    };
    let callable: Vec<String> = sqlx::query_scalar(may("backstop_worker")).fetch_all(&mut desk.owner).await.unwrap();
    assert_eq!(callable, CALLABLE);
    let public: Vec<String> = sqlx::query_scalar(may("public")).fetch_all(&mut desk.owner).await.unwrap();
    assert_eq!(public, Vec::<String>::new());
    let mut worker = desk.database.worker().await;
    for call in ["post('k', 1, 'deposit', 1, 'world', 5, 0, 0)", "account_of('mallory', 'BTC')", "emit('a', 'k', '{}')"]
    {
        assert_eq!(fails_with(&mut worker, format!("SELECT {call}")).await, DENIED, "{call}");
    }
}

#[tokio::test]
async fn what_was_written_is_not_rewritten_even_by_the_owner() {
    let mut desk = Desk::open().await;
    desk.adjust("a-1", "alice", "1").await.unwrap();
    let before = desk.everything().await;
    for statement in [
        "UPDATE entries SET d_available = 0",
        "UPDATE entries SET hash = hash",
        "DELETE FROM entries",
        "TRUNCATE entries",
        "TRUNCATE accounts CASCADE",
        "UPDATE operator_acts SET evidence = 'none'",
        "DELETE FROM operator_acts",
        "TRUNCATE operator_acts",
        "DELETE FROM deposits",
        "UPDATE deposits SET amount = 5",
        "UPDATE adjustments SET content = '{}'",
    ] {
        assert_eq!(fails_with(&mut desk.owner, statement.into()).await, REWRITING, "{statement}");
    }
    assert_eq!(desk.everything().await, before);
}

#[tokio::test]
async fn every_function_with_the_owners_rights_has_a_search_path_of_its_own() {
    let mut desk = Desk::open().await;
    let definers = "SELECT proname || ' ' || coalesce(array_to_string(proconfig, ';'), '(none)') FROM pg_proc
                     WHERE pronamespace = 'backstop'::regnamespace AND prosecdef ORDER BY 1";
    let definers = desk.texts(definers).await;
    assert!(definers.len() > 60, "{definers:?}");
    for definer in definers {
        assert!(definer.ends_with(" search_path=backstop, pg_temp"), "{definer}");
    }
    // The others that the worker may call only compute or read.
    let names = CALLABLE.iter().map(|name| format!("'{name}'")).collect::<Vec<_>>().join(", ");
    let writing = format!(
        "SELECT proname::text FROM pg_proc
          WHERE pronamespace = 'backstop'::regnamespace AND NOT prosecdef AND provolatile = 'v' AND proname IN ({names})"
    );
    let writing: Vec<String> = sqlx::query_scalar(AssertSqlSafe(writing)).fetch_all(&mut desk.owner).await.unwrap();
    assert_eq!(writing, Vec::<String>::new());
}

#[tokio::test]
async fn tables_and_functions_of_the_callers_own_are_not_taken_for_the_books() {
    let mut desk = Desk::open().await;
    let mut worker = desk.database.worker().await;
    let trap = "
        CREATE TEMP TABLE accounts AS SELECT id, owner, asset, 1000000.0::numeric(38, 18) AS available, locked, version,
            head, frozen_by FROM backstop.accounts;
        CREATE TEMP TABLE payouts AS SELECT * FROM backstop.payouts;
        CREATE FUNCTION pg_temp.lock_spendable(text, text, numeric) RETURNS bigint LANGUAGE sql AS 'SELECT 1::bigint';
        SET search_path = pg_temp, backstop";
    assert_eq!(fails_with(&mut worker, trap.into()).await, "");
    let big = order("r", "1000");
    let sql =
        "SELECT backstop.payout_open($1, 'refund', 'w', $2, '{}', 'c', 'alice', NULL, 'BTC', 1000, 'BTC', $3, NULL)";
    let query = sqlx::query(sql).bind(big.payout_id.as_str()).bind(big.content()).bind(crate::desk::ADDRESS);
    let error = query.execute(&mut worker).await.unwrap_err();
    let code = error.as_database_error().unwrap().code().unwrap().into_owned();
    assert_eq!(RefusalKind::from_sqlstate(&code), Some(RefusalKind::InsufficientFunds));
    assert_eq!(desk.available("alice").await, "2");
}
