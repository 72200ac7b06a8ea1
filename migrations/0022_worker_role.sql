-- The worker's role: reads everything, writes nothing; the transition functions are its only way to change the books.
-- It is a group role. A deployment grants it to a login of its own (GRANT backstop_worker TO ...).

SET LOCAL search_path = backstop, public;

DO $$
BEGIN
    CREATE ROLE backstop_worker NOLOGIN;
EXCEPTION WHEN duplicate_object OR unique_violation THEN
    NULL; -- roles belong to the whole cluster: another database's migration may have made it
END $$;

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA backstop FROM PUBLIC;
REVOKE ALL ON ALL TABLES IN SCHEMA backstop FROM PUBLIC;
GRANT USAGE ON SCHEMA backstop TO backstop_worker;
GRANT SELECT ON ALL TABLES IN SCHEMA backstop TO backstop_worker;
GRANT EXECUTE ON FUNCTION
    payout_open, payout_abandon, payout_attempt, payout_attempt_outcome, payout_attempts_vanish, payout_settle,
    payout_return, payout_escalate, payout_resolve, deposit_credit, reservation_open, reservation_release,
    adjustment_post, account_freeze, account_unfreeze, find,
    withdrawal_request, withdrawal_decide, withdrawal_expire, withdrawal_claim,
    deposit_observe, funding_open, funding_expire, funding_release, funding_status, funding_keep_refused,
    strategy_start, strategy_run, strategy_stop, strategy_pause, strategy_open_ends,
    order_open, order_abandon, order_attempt, order_not_sent, order_place, order_void, order_give_up, fill_book, fill_suspend, order_end,
    intent_check, intent_open, intent_claim, intent_reserve, intent_finish, intent_void, intent_fail, intent_cancel,
    intent_abandon, gate_set,
    reward_distribute, reward_abandon,
    pause_open, pause_drained, pause_end, watermark_set, payout_restore, adoption_note,
    venue_slot, venue_back_off, venue_pace_set, halt, halt_lift,
    findings_report, finding_acknowledge, seal, seal_check, seal_cursor, news_end, books_news, books_page, accounts_page, heads_page,
    seals_page,
    check_transit, check_reservations, check_intents,
    once, endpoint_add, endpoint_remove, event_id, outbox_relay, stream_lease, stream_events, stream_delivered, stream_release,
    stream_failed, delivery_decide
TO backstop_worker;
-- Pure helpers that checkers use on what they may read anyway.
GRANT EXECUTE ON FUNCTION entry_text, attempt_live, receipt, entry_deviations, account_deviation, heads_digest, found_by TO backstop_worker;

-- Functions of later migrations are not for everyone either.
ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;

-- Nothing of the books is emptied as a whole.
DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['payouts', 'payout_attempts', 'deposits', 'reservations', 'adjustments', 'outbox',
                                'findings', 'accounts', 'transitions', 'fundings', 'funding_needs', 'funding_parts',
                                'deposit_routes', 'strategies', 'strategy_starts', 'orders', 'fills', 'suspended_fills', 'pauses', 'intents',
                                'receipts', 'gates', 'venues', 'halts', 'seals', 'seal_heads', 'house_sums', 'endpoints',
                                'relays', 'streams', 'rewards', 'reward_allocations'] LOOP
        EXECUTE format('CREATE TRIGGER %I BEFORE TRUNCATE ON %I FOR EACH STATEMENT EXECUTE FUNCTION refuse_rewriting()',
                       name || '_stay_all', name);
    END LOOP;
END $$;
