-- What brings the books and the workflows back together when one of them has lost something.

SET LOCAL search_path = backstop, public;

-- How far a watcher has read, ms since 1970.
CREATE TABLE watermarks (
    name text PRIMARY KEY,
    at_ms bigint NOT NULL
);

CREATE FUNCTION watermark_set(p_name text, p_at_ms bigint) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = backstop, pg_temp AS $$
    INSERT INTO watermarks (name, at_ms) VALUES (p_name, p_at_ms)
    ON CONFLICT (name) DO UPDATE SET at_ms = greatest(watermarks.at_ms, excluded.at_ms);
$$;

-- Every operation that is not over, with the workflow that has to be there for it and what that was started with.
CREATE VIEW unfinished AS
    SELECT holder, CASE kind WHEN 'refund' THEN 'Refund' ELSE 'Withdraw' END AS workflow, input, changed_at
      FROM payouts WHERE state IN ('awaiting_approval', 'queued', 'opened', 'attempted', 'needs_operator')
    UNION ALL
    SELECT holder, 'PauseAndWithdraw', input, changed_at
      FROM pauses WHERE state IN ('draining', 'withdrawing')
    UNION ALL
    SELECT holder, 'FundOrder', input, changed_at
      FROM fundings WHERE state = 'awaiting'
    UNION ALL
    SELECT r.holder, 'RunStrategy', r.input, s.changed_at
      FROM strategies AS s JOIN strategy_starts AS r USING (start_id)
     WHERE s.status = 'running'
        -- Its run ends its orders. One that was lost in the middle of that is to go on.
        OR EXISTS (SELECT FROM orders AS o
                    WHERE o.strategy_key = s.strategy_key AND o.state IN ('opened', 'attempted', 'placed'))
    UNION ALL
    SELECT holder, 'ExecuteIntent', input, changed_at
      FROM intents WHERE state IN ('waiting', 'claimed')
    UNION ALL
    (SELECT DISTINCT ON (f.order_id) f.holder, 'FundOrder', f.input, x.changed_at
      FROM funding_parts AS x
      JOIN fundings AS f ON f.order_id = x.order_id AND f.state <> 'awaiting'
     WHERE x.state = 'refunding'
       AND NOT EXISTS (SELECT FROM payouts AS p WHERE p.payout_id = 'refund/' || x.reservation_id)
     ORDER BY f.order_id, x.changed_at);

-- That an operation is about to be started again is on the record, once for each run of its workflow that is gone (null: all
-- that Temporal knew). The operation's own rows say what it has done since.
CREATE FUNCTION adoption_note(p_holder text, p_workflow text, p_gone_run text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = backstop, pg_temp AS $$
DECLARE
    -- Not the operation's own aggregate: whose events are in order because whoever emits one holds the operation's row.
    v_aggregate text := 'adoption/' || p_holder;
    v_last      outbox;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended(v_aggregate, 0));
    SELECT * INTO v_last FROM outbox WHERE aggregate = v_aggregate ORDER BY id DESC LIMIT 1;
    -- Said by somebody who died before he started it, or could not.
    IF v_last.id IS NOT NULL AND v_last.payload ->> 'gone_run' IS NOT DISTINCT FROM p_gone_run
       AND (p_gone_run IS NOT NULL OR v_last.at > clock_timestamp() - interval '1 hour') THEN
        RETURN;
    END IF;
    PERFORM emit(v_aggregate, 'operation.adopted', jsonb_build_object(
        'workflow_id', p_holder, 'workflow', p_workflow, 'gone_run', p_gone_run));
END $$;

-- Restored from a backup, the books may have lost what a workflow knows to have happened: that a payout was opened, and
-- how often it was attempted. It is taken down again, as a fact, and a critical finding says so. What the venue made of
-- the attempts, its record has to tell: their time begins anew, so that nothing is given up too early. Where the venue's
-- reference of the last attempt is known, that attempt was accepted.
CREATE FUNCTION payout_restore(
    p_payout_id text, p_kind text, p_holder text, p_content jsonb, p_input jsonb, p_client_id text, p_owner text,
    p_requested_by text, p_asset text, p_amount numeric, p_network text, p_address text, p_tag text,
    p_attempts int, p_venue_reference text, p_recv_window_ms int, p_visibility_ms int
) RETURNS payout_receipt
LANGUAGE plpgsql SECURITY DEFINER SET search_path = backstop, pg_temp AS $$
DECLARE
    p       payouts;
    v_lost  text;
    v_known int;
    moment  timestamptz := clock_timestamp();
BEGIN
    INSERT INTO payouts (payout_id, kind, holder, content, input, owner, requested_by, asset, amount, network, address,
                         tag, venue, client_id, account, state, in_transit)
    VALUES (p_payout_id, p_kind, p_holder, p_content, p_input, p_owner, p_requested_by, p_asset, p_amount, p_network,
            p_address, p_tag, refuse_bad_destination(p_asset, p_network, p_address, p_tag), p_client_id,
            account_of(p_owner, p_asset), 'queued', 0)
    ON CONFLICT DO NOTHING;
    v_lost := CASE WHEN FOUND THEN 'the payout' END;
    p := lock_payout(p_payout_id);
    PERFORM refuse_other_content(p.payout_id, p.content, p_content);
    PERFORM refuse_other_holder(p, p_holder);
    IF p.state IN ('awaiting_approval', 'queued') THEN
        v_lost := coalesce(v_lost, 'its opening');
        p.state := 'queued';
        PERFORM release_for_refund(p_payout_id, p_content);
        -- A freeze does not undo what has happened; but what is not there can't be taken.
        IF (SELECT available < p.amount FROM accounts WHERE id = p.account FOR NO KEY UPDATE) THEN
            PERFORM refuse('BS002', format('%s has less than %s %s, which the books have lost the leaving of', p_owner,
                               trim_scale(p_amount), p_asset),
                           jsonb_build_object('owner', p_owner, 'asset', p_asset, 'needed', trim_scale(p_amount)::text));
        END IF;
        PERFORM post(p_payout_id || '/open', 1, 'payout_open', p.account, NULL, -p.amount, 0, p.amount);
        p.opened_at := moment;
        p := move_payout(p, 'open');
    END IF;
    SELECT count(*) INTO v_known FROM payout_attempts WHERE payout_id = p_payout_id;
    IF p.state IN ('opened', 'attempted', 'needs_operator') AND v_known < p_attempts THEN
        v_lost := coalesce(v_lost, 'attempts');
        -- A later attempt was granted: by then no earlier one could take effect any more.
        UPDATE payout_attempts
           SET outcome = 'absent', detail = concat_ws('; ', detail, 'void, for a later attempt was granted')
         WHERE payout_id = p_payout_id AND outcome IN ('pending', 'unknown');
        INSERT INTO payout_attempts (payout_id, attempt, signed_at, deadline, void_after, outcome, venue_reference, detail)
        -- When it was sent, nobody knows any more: lookups begin at `signed_at`, and have to reach back to it; but a venue
        -- may refuse to look for one id further than 7 days back (Binance Wallet API, "Withdraw History").
        SELECT p_payout_id, n, moment - interval '6 days 23 hours', moment + p_recv_window_ms * interval '1 ms',
               moment + (p_recv_window_ms + p_visibility_ms) * interval '1 ms',
               CASE WHEN n < p_attempts THEN 'not_sent' WHEN p_venue_reference IS NULL THEN 'unknown' ELSE 'accepted' END,
               CASE WHEN n = p_attempts THEN p_venue_reference END, 'lost by the books, known to the workflow or the venue'
          FROM generate_series(v_known + 1, p_attempts) AS n;
        IF p.state = 'opened' THEN
            p := move_payout(p, 'attempt');
        END IF;
    END IF;
    IF v_lost IS NOT NULL THEN
        PERFORM find('books_lost_payout', p_payout_id, 'critical', jsonb_build_object('lost', v_lost, 'holder', p_holder,
            'user_id', p_owner, 'asset_id', p_asset, 'amount', trim_scale(p_amount)::text));
    END IF;
    RETURN receipt(p, v_lost IS NOT NULL);
END $$;
