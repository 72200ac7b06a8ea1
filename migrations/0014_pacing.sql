-- Pacing and halt. Every call of a venue takes a slot of that venue's, one at a time, for all processes together; and what
-- is halted is not sent: both in the one call that comes before the send.

SET LOCAL search_path = backstop, public;

-- A venue's pace. Made on first use. What is written for every slot is one row in a page of its own.
CREATE TABLE venues (
    venue           text PRIMARY KEY CHECK (venue ~ '^[a-z0-9_-]{1,32}$'),
    -- From one call to the next; 0: not paced.
    min_interval_ms int NOT NULL DEFAULT 50 CHECK (min_interval_ms BETWEEN 0 AND 60000),
    -- The moment of the next slot, unless that is over.
    next_at         timestamptz NOT NULL DEFAULT 'epoch',
    -- The venue's last wish to be left alone, and why.
    closed_until    timestamptz,
    closed_why      text
) WITH (fillfactor = 10);

-- Who has asked for a slot and not got it: one row for the head of each process' local queue. `until` is when it promised
-- to ask again; one that is an interval late has died, or gone. Not worth a log: after a crash everybody asks again.
CREATE UNLOGGED TABLE venue_asks (
    venue    text NOT NULL,
    lane     text NOT NULL,
    priority int NOT NULL,
    until    timestamptz NOT NULL,
    -- How many better calls have gone before it since it asked first.
    passed   int NOT NULL DEFAULT 0,
    PRIMARY KEY (venue, lane)
);

-- Locks the venue's row, where calls take turns at all. Always the last lock of a transaction.
CREATE FUNCTION hold_venue(p_venue text) RETURNS venues
LANGUAGE plpgsql AS $$
DECLARE
    v venues;
BEGIN
    SELECT * INTO v FROM venues WHERE venue = p_venue;
    IF v.venue IS NULL THEN
        INSERT INTO venues (venue) VALUES (p_venue) ON CONFLICT DO NOTHING;
    ELSIF v.min_interval_ms = 0 THEN
        RETURN v;
    END IF;
    SELECT * INTO STRICT v FROM venues WHERE venue = p_venue FOR NO KEY UPDATE;
    RETURN v;
END $$;

-- An ask that eight better calls have gone before goes before all but cancels: whatever is asked gets a ninth of the slots
-- at least that cancels leave.
CREATE FUNCTION ask_rank(p_priority int, p_passed int) RETURNS int
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN p_priority = 0 THEN -2 WHEN p_passed >= 8 THEN -1 ELSE p_priority END;
$$;

-- Gives the venue's next slot, at most one interval ahead, unless another process' call of better rank has asked for it.
-- Priorities: 0 cancels, 1 lookups, 2 orders and payouts, 3 market data.
CREATE FUNCTION take_slot(p_venue text, p_lane text, p_priority int) RETURNS slot
LANGUAGE plpgsql AS $$
DECLARE
    v       venues := hold_venue(p_venue);
    -- Read with the row in hand: whoever waits for it is not late by that.
    v_now   timestamptz := clock_timestamp();
    v_gap   interval := v.min_interval_ms * interval '1 ms';
    v_at    timestamptz := greatest(v.next_at, v_now);
    v_rank  int;
    v_again timestamptz;
BEGIN
    SELECT ask_rank(priority, passed) INTO v_rank FROM venue_asks
     WHERE venue = p_venue AND lane = p_lane AND priority = p_priority AND until + v_gap > v_now;
    v_rank := coalesce(v_rank, ask_rank(p_priority, 0));
    IF v_now < v_at - v_gap THEN
        v_again := v_at - v_gap;
    ELSIF EXISTS (SELECT FROM venue_asks
                   WHERE venue = p_venue AND lane <> p_lane AND ask_rank(priority, passed) < v_rank
                     AND until + v_gap > v_now) THEN
        v_again := greatest(v_at, v_now + interval '1 ms');
    END IF;
    IF v_again IS NOT NULL THEN
        IF v.min_interval_ms > 0 THEN
            -- A process asks for its best call; one that asked before it and has gone on since does not count for more.
            INSERT INTO venue_asks AS a (venue, lane, priority, until) VALUES (p_venue, p_lane, p_priority, v_again)
            ON CONFLICT (venue, lane) DO UPDATE
               SET priority = excluded.priority, until = excluded.until,
                   passed = CASE WHEN excluded.priority = a.priority AND a.until + v_gap > v_now THEN a.passed ELSE 0 END
             WHERE excluded.priority <= a.priority OR a.until + v_gap <= v_now;
        END IF;
        RETURN ROW(false, NULL, ceil(extract(epoch FROM v_again - v_now) * 1000000)::bigint, v.min_interval_ms,
                   CASE WHEN v.closed_until > v_now THEN v.closed_why END)::slot;
    END IF;
    IF v.min_interval_ms > 0 THEN
        UPDATE venues SET next_at = v_at + v_gap WHERE venue = p_venue;
        UPDATE venue_asks SET passed = passed + 1
         WHERE venue = p_venue AND lane <> p_lane AND priority > p_priority AND until + v_gap > v_now;
        DELETE FROM venue_asks
         WHERE venue = p_venue AND (lane = p_lane AND priority >= p_priority OR until < v_now - interval '1 minute');
    END IF;
    RETURN ROW(true, floor(extract(epoch FROM v_at) * 1000)::bigint,
               ceil(extract(epoch FROM v_at - v_now) * 1000000)::bigint, v.min_interval_ms, NULL)::slot;
END $$;

-- A slot for what records nothing: cancels, lookups, market data.
CREATE FUNCTION venue_slot(p_venue text, p_lane text, p_priority int) RETURNS slot
LANGUAGE plpgsql SECURITY DEFINER SET search_path = backstop, pg_temp AS $$
BEGIN
    -- A crash may lose the last slots; that is not worth waiting for the disk.
    PERFORM set_config('synchronous_commit', 'off', true);
    RETURN take_slot(p_venue, p_lane, p_priority);
END $$;

-- The venue wants to be left alone: nobody gets a slot before that is over. A slot that was granted by then, at most one,
-- may still be used.
CREATE FUNCTION venue_back_off(p_venue text, p_ms int, p_why text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = backstop, pg_temp AS $$
DECLARE
    v_until timestamptz;
BEGIN
    INSERT INTO venues (venue) VALUES (p_venue) ON CONFLICT DO NOTHING;
    PERFORM FROM venues WHERE venue = p_venue FOR NO KEY UPDATE;
    v_until := clock_timestamp() + p_ms * interval '1 ms';
    UPDATE venues SET next_at = greatest(next_at, v_until), closed_until = v_until, closed_why = p_why
     WHERE venue = p_venue AND (closed_until IS NULL OR closed_until < v_until);
END $$;

CREATE FUNCTION known_venues() RETURNS text[]
LANGUAGE sql STABLE AS $$
    SELECT coalesce(array_agg(venue ORDER BY venue), '{}')
      FROM (SELECT venue FROM venues UNION SELECT venue FROM networks UNION SELECT venue FROM strategies) AS known;
$$;

CREATE FUNCTION refuse_unknown_venue(p_venue text) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    IF p_venue IS NULL OR p_venue <> ALL (known_venues()) THEN
        PERFORM refuse_input('venue', 'one of the known venues: '
            || coalesce(nullif(array_to_string(known_venues(), ', '), ''), '(none)'));
    END IF;
END $$;

-- Sets how long it is from one call of the venue to the next.
CREATE FUNCTION venue_pace_set(p_venue text, p_min_interval_ms int) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = backstop, pg_temp AS $$
BEGIN
    PERFORM refuse_unknown_venue(p_venue);
    IF p_min_interval_ms IS NULL OR p_min_interval_ms NOT BETWEEN 0 AND 60000 THEN
        PERFORM refuse_input('min_interval_ms', 'whole milliseconds from 0 to 60000');
    END IF;
    INSERT INTO venues (venue, min_interval_ms) VALUES (p_venue, p_min_interval_ms)
    ON CONFLICT (venue) DO UPDATE SET min_interval_ms = excluded.min_interval_ms;
END $$;

-- What is halted. Orders always; payouts where it says so.
CREATE TABLE halts (
    scope     text PRIMARY KEY,
    payouts   boolean NOT NULL,
    halted_by text NOT NULL CHECK (halted_by <> ''),
    reason    text NOT NULL CHECK (reason <> ''),
    at        timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- Refuses what is halted. For a payout there is no strategy. At an order's opening this spares a detour; what counts is the
-- attempt's look.
CREATE FUNCTION refuse_halted(p_venue text, p_strategy_key text) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    h halts;
BEGIN
    SELECT * INTO h FROM halts
     WHERE scope IN ('all', 'venue/' || p_venue, 'strategy/' || p_strategy_key) AND (payouts OR p_strategy_key IS NOT NULL)
     ORDER BY scope LIMIT 1;
    IF h.scope IS NOT NULL THEN
        PERFORM refuse('BS016', format('%s is halted by %s: %s', h.scope, h.halted_by, h.reason),
                       jsonb_build_object('scope', h.scope, 'by', h.halted_by, 'reason', h.reason));
    END IF;
END $$;

-- The end of every attempt's checks: not while it is halted, and not without a slot. The table is shared with other
-- attempts until the commit, and a halt takes it for itself: once a halt is committed, no attempt is.
CREATE FUNCTION take_slot_to_send(p_venue text, p_strategy_key text, p_lane text) RETURNS slot
LANGUAGE plpgsql AS $$
BEGIN
    LOCK TABLE halts IN ROW SHARE MODE;
    PERFORM refuse_halted(p_venue, p_strategy_key);
    RETURN take_slot(p_venue, p_lane, 2);
END $$;

-- attempt, of an order: the one call before the one send. Recorded together with its slot: while there is none, nothing is.
CREATE FUNCTION order_attempt(
    p_order_id text, p_holder text, p_recv_window_ms int, p_visibility_ms int, p_lane text
) RETURNS permit
LANGUAGE plpgsql SECURITY DEFINER SET search_path = backstop, pg_temp AS $$
DECLARE
    o        orders := lock_order(p_order_id);
    v_frozen accounts;
    s        slot;
    moment   timestamptz;
BEGIN
    PERFORM refuse_other_order(o, p_holder, o.content);
    IF o.state = 'abandoned' THEN
        PERFORM refuse('BS006', format('order/%s was ended before it was sent (%s)', p_order_id, o.detail),
                       jsonb_build_object('subject', 'order/' || p_order_id, 'reason', o.detail));
    END IF;
    IF o.state IN ('attempted', 'placed') THEN
        PERFORM refuse('BS010', format('order/%s is %s: it may have taken effect', p_order_id, o.state),
                       jsonb_build_object('subject', 'order/' || p_order_id, 'outcome', o.state));
    END IF;
    PERFORM next_state('order', p_order_id, o.state, 'attempt');
    PERFORM share_running_strategy(o.strategy_key);
    PERFORM refuse_outlived(p_order_id);
    SELECT a.* INTO v_frozen FROM reservations AS r JOIN accounts AS a ON a.id = r.account
     WHERE r.reservation_id = o.reservation_id FOR SHARE OF a;
    IF v_frozen.frozen_by IS NOT NULL THEN
        PERFORM refuse('BS003', format('the %s account of %s is frozen by %s', v_frozen.asset, o.owner, v_frozen.frozen_by),
                       jsonb_build_object('owner', o.owner, 'asset', v_frozen.asset, 'frozen_by', v_frozen.frozen_by));
    END IF;
    s := take_slot_to_send(o.venue, o.strategy_key, p_lane);
    IF NOT s.granted THEN
        RETURN ROW(false, NULL, NULL, NULL, s.wait_us, s.interval_ms, s.why)::permit;
    END IF;
    moment := 'epoch'::timestamptz + s.at_ms * interval '1 ms';
    o.signed_at := moment;
    o.deadline := moment + p_recv_window_ms * interval '1 ms';
    o.void_after := moment + (p_recv_window_ms + p_visibility_ms) * interval '1 ms';
    PERFORM move_order(o, 'attempt');
    RETURN ROW(true, NULL, p_order_id, s.at_ms, s.wait_us, s.interval_ms, NULL)::permit;
END $$;

-- not_send, of an order: the attempt that was signed then never left this house, or was turned away at the venue's door: it may be made
-- again. A repeat that comes late speaks for no attempt but its own. A fact: that the venue has it after all is a critical
-- finding. Returns whether the order is as it was before that attempt.
CREATE FUNCTION order_not_sent(p_order_id text, p_holder text, p_signed_at_ms bigint, p_detail text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = backstop, pg_temp AS $$
DECLARE
    o orders := lock_order(p_order_id);
BEGIN
    PERFORM refuse_other_order(o, p_holder, o.content);
    IF (extract(epoch FROM o.signed_at) * 1000)::bigint IS DISTINCT FROM p_signed_at_ms THEN
        RETURN o.state = 'opened';
    END IF;
    IF o.state IN ('placed', 'ended') OR EXISTS (SELECT FROM fills WHERE order_id = p_order_id) THEN
        PERFORM find('order_sent_after_all', 'order/' || p_order_id, 'critical',
                     jsonb_build_object('state', o.state, 'venue_order_id', o.venue_order_id, 'said', p_detail));
        RETURN false;
    END IF;
    IF o.state <> 'attempted' THEN
        RETURN false;
    END IF;
    o.signed_at := NULL;
    o.deadline := NULL;
    o.void_after := NULL;
    o.detail := p_detail;
    PERFORM move_order(o, 'not_send');
    RETURN true;
END $$;

CREATE FUNCTION halt_scope(p_kind text, p_name text) RETURNS text
LANGUAGE plpgsql AS $$
BEGIN
    IF p_kind = 'all' THEN
        RETURN 'all';
    ELSIF p_kind = 'venue' THEN
        PERFORM refuse_unknown_venue(p_name);
    ELSIF p_kind = 'strategy' THEN
        IF NOT EXISTS (SELECT FROM strategies WHERE strategy_key = p_name) THEN
            PERFORM refuse('BS008', format('there is no strategy %s', p_name),
                           jsonb_build_object('field', 'strategy_key', 'subject', p_name));
        END IF;
    ELSE
        PERFORM refuse_input('scope', 'all, venue or strategy');
    END IF;
    RETURN p_kind || '/' || p_name;
END $$;

CREATE FUNCTION refuse_unsigned(p_by text, p_reason text) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    IF coalesce(trim(p_by), '') = '' THEN
        PERFORM refuse_input('by', 'who decides this');
    END IF;
    IF coalesce(trim(p_reason), '') = '' THEN
        PERFORM refuse_input('reason', 'why');
    END IF;
END $$;

-- halt: no order of that scope is sent from this commit on, and no payout where that is said; cancels and lookups go on.
-- A halt that is there may be widened to payouts, never narrowed. Returns whether this call changed anything.
CREATE FUNCTION halt(p_kind text, p_name text, p_payouts boolean, p_by text, p_reason text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = backstop, pg_temp AS $$
DECLARE
    v_scope text := halt_scope(p_kind, p_name);
BEGIN
    PERFORM refuse_unsigned(p_by, p_reason);
    IF p_payouts AND p_kind = 'strategy' THEN
        PERFORM refuse_input('payouts', 'none: a strategy has no payouts');
    END IF;
    LOCK TABLE halts IN EXCLUSIVE MODE;
    INSERT INTO halts AS h (scope, payouts, halted_by, reason) VALUES (v_scope, p_payouts, p_by, p_reason)
    ON CONFLICT (scope) DO UPDATE
       SET payouts = true, halted_by = excluded.halted_by, reason = excluded.reason, at = excluded.at
     WHERE excluded.payouts AND NOT h.payouts;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    INSERT INTO operator_acts (act, subject, operator, evidence)
    VALUES (CASE WHEN p_payouts THEN 'halt orders and payouts' ELSE 'halt orders' END, v_scope, p_by, p_reason);
    PERFORM emit('halt/' || v_scope, 'halt.set', jsonb_build_object(
        'scope', v_scope, 'payouts', p_payouts, 'by', p_by, 'reason', p_reason));
    RETURN true;
END $$;

-- Lifts the halt of exactly that scope; another that covers it stays. Returns whether there was one.
CREATE FUNCTION halt_lift(p_kind text, p_name text, p_by text, p_reason text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = backstop, pg_temp AS $$
DECLARE
    v_scope text := halt_scope(p_kind, p_name);
BEGIN
    PERFORM refuse_unsigned(p_by, p_reason);
    LOCK TABLE halts IN EXCLUSIVE MODE;
    DELETE FROM halts WHERE scope = v_scope;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    INSERT INTO operator_acts (act, subject, operator, evidence) VALUES ('resume', v_scope, p_by, p_reason);
    PERFORM emit('halt/' || v_scope, 'halt.lifted', jsonb_build_object('scope', v_scope, 'by', p_by, 'reason', p_reason));
    RETURN true;
END $$;
