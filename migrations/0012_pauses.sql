-- Pause and withdraw: stop a strategy, wait until it is drained, pay its money out. The row says where the operation is,
-- so that it can be started again at any point; each change of it is an event.

SET LOCAL search_path = backstop, public;

INSERT INTO transitions (machine, state, event, next) VALUES
    ('pause', 'absent', 'open', 'draining'),
    ('pause', 'draining', 'drain', 'withdrawing'),
    ('pause', 'draining', 'block', 'blocked'),
    ('pause', 'blocked', 'open', 'draining'),
    ('pause', 'withdrawing', 'complete', 'completed'),
    ('pause', 'withdrawing', 'fail', 'failed');

CREATE TABLE pauses (
    operation_id text PRIMARY KEY,
    holder       text NOT NULL CHECK (holder <> ''),
    content      jsonb NOT NULL,
    input        jsonb NOT NULL,
    strategy_key text NOT NULL REFERENCES strategies,
    state        text NOT NULL CHECK (state IN ('draining', 'blocked', 'withdrawing', 'completed', 'failed')),
    reason       text,
    version      bigint NOT NULL DEFAULT 1,
    changed_at   timestamptz NOT NULL DEFAULT clock_timestamp()
);
-- Two operations on one strategy would each take the other's drained money for its own.
CREATE UNIQUE INDEX pauses_active ON pauses (strategy_key) WHERE state IN ('draining', 'withdrawing');

CREATE FUNCTION pause_status(p pauses) RETURNS jsonb
LANGUAGE sql STABLE AS $$
    SELECT jsonb_build_object('operation_id', p.operation_id, 'strategy_key', p.strategy_key, 'state', p.state,
                              'reason', p.reason, 'venue', s.venue)
      FROM strategies AS s WHERE s.strategy_key = p.strategy_key;
$$;

CREATE FUNCTION lock_pause(p_operation_id text, p_holder text) RETURNS pauses
LANGUAGE plpgsql AS $$
DECLARE
    p pauses;
BEGIN
    SELECT * INTO p FROM pauses WHERE operation_id = p_operation_id FOR NO KEY UPDATE;
    IF p.operation_id IS NULL THEN
        PERFORM refuse('BS008', format('there is no operation %s', p_operation_id),
                       jsonb_build_object('subject', p_operation_id));
    END IF;
    IF p.holder <> p_holder AND p.state NOT IN ('completed', 'failed') THEN
        PERFORM refuse('BS005', format('operation %s is held by workflow %s', p_operation_id, p.holder),
                       jsonb_build_object('subject', p_operation_id, 'holder', p.holder));
    END IF;
    RETURN p;
END $$;

CREATE FUNCTION move_pause(p pauses, p_event text, p_reason text) RETURNS pauses
LANGUAGE plpgsql AS $$
BEGIN
    UPDATE pauses
       SET state = next_state('pause', p.operation_id, p.state, p_event), reason = p_reason, version = version + 1,
           changed_at = clock_timestamp()
     WHERE operation_id = p.operation_id RETURNING * INTO p;
    PERFORM emit('pause/' || p.operation_id,
                 'pause_and_withdraw.' || CASE p.state WHEN 'draining' THEN 'pending' ELSE p.state END,
                 p.content || jsonb_strip_nulls(jsonb_build_object('operation_id', p.operation_id, 'reason', p_reason)));
    RETURN p;
END $$;

-- open: takes the operation up, for the first time or again after it was blocked.
CREATE FUNCTION pause_open(
    p_operation_id text, p_holder text, p_content jsonb, p_input jsonb, p_strategy_key text, p_owner text
) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = backstop, pg_temp AS $$
DECLARE
    p       pauses;
    s       strategies := lock_strategy(p_strategy_key);
    v_other text;
BEGIN
    IF s.owner <> p_owner THEN
        PERFORM refuse_input('strategy_key', format('a strategy of user %s', p_owner));
    END IF;
    SELECT * INTO p FROM pauses WHERE operation_id = p_operation_id FOR NO KEY UPDATE;
    IF p.operation_id IS NOT NULL THEN
        PERFORM refuse_other_content('operation ' || p_operation_id, p.content, p_content);
        p := lock_pause(p_operation_id, p_holder);
    END IF;
    IF p.operation_id IS NULL OR p.state = 'blocked' THEN
        SELECT operation_id INTO v_other FROM pauses
         WHERE strategy_key = p_strategy_key AND state IN ('draining', 'withdrawing');
        IF v_other IS NOT NULL THEN
            PERFORM refuse('BS009', format('strategy %s is being withdrawn from by %s', p_strategy_key, v_other),
                           jsonb_build_object('subject', p_strategy_key, 'operation_id', v_other, 'event', 'open'));
        END IF;
    END IF;
    IF p.operation_id IS NULL THEN
        INSERT INTO pauses (operation_id, holder, content, input, strategy_key, state)
        VALUES (p_operation_id, p_holder, p_content, p_input, p_strategy_key,
                next_state('pause', p_operation_id, 'absent', 'open'))
        ON CONFLICT (operation_id) DO NOTHING RETURNING * INTO p;
        IF p.operation_id IS NULL THEN
            -- Opened at this moment for another strategy.
            SELECT * INTO STRICT p FROM pauses WHERE operation_id = p_operation_id;
            PERFORM refuse_other_content('operation ' || p_operation_id, p.content, p_content);
        END IF;
        PERFORM emit('pause/' || p_operation_id, 'pause_and_withdraw.pending',
                     p_content || jsonb_build_object('operation_id', p_operation_id));
    ELSIF p.state = 'blocked' THEN
        p := move_pause(p, 'open', NULL);
    END IF;
    RETURN pause_status(p);
END $$;

-- What keeps a strategy from being drained, in words; nothing, when it is stopped and all its money is free.
CREATE FUNCTION strategy_open_ends(p_key text) RETURNS text[]
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = backstop, pg_temp AS $$
BEGIN
    RETURN (SELECT coalesce(array_agg(open_end ORDER BY open_end), '{}') FROM (
        SELECT format('the strategy is %s', status) AS open_end FROM strategies
         WHERE strategy_key = p_key AND status <> 'stopped'
        UNION ALL
        SELECT format('order %s (%s %s %s at %s) is %s, %s filled', o.order_id, o.side, trim_scale(o.quantity), o.base,
                      trim_scale(o.price), o.state,
                      (SELECT trim_scale(coalesce(sum(f.base), 0)) FROM fills AS f WHERE f.order_id = o.order_id))
          FROM orders AS o WHERE o.strategy_key = p_key AND o.state IN ('opened', 'attempted', 'placed')
        UNION ALL
        SELECT format('reservation %s holds %s %s', r.reservation_id, trim_scale(r.remaining), a.asset)
          FROM reservations AS r JOIN accounts AS a ON a.id = r.account
         WHERE r.strategy_key = p_key AND r.state = 'open'
        UNION ALL
        -- It may be about to set money aside, should somebody start the strategy again.
        SELECT format('intent %s is in flight', i.intent_id) FROM intents AS i
         WHERE i.strategy_key = p_key AND i.state = 'claimed' AND i.kind = 'place_limit_order') AS ends);
END $$;

-- give up: an order that was opened and never attempted, of a strategy that is stopped, is abandoned for its holder, who may
-- be gone. It can't be attempted any more; but its attempt may be lost, if the books were put back to a moment before it.
-- So this takes a lookup that found nothing and began at `p_looked_at_ms`, when such an attempt's time was over: that long
-- after the order was opened, the strategy stopped, and this server started, which the putting back went before. Returns
-- whether the order is abandoned now.
CREATE FUNCTION order_give_up(p_order_id text, p_looked_at_ms bigint, p_recv_window_ms int, p_visibility_ms int)
RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = backstop, pg_temp AS $$
DECLARE
    o       orders := lock_order(p_order_id);
    s       strategies;
    v_until timestamptz;
BEGIN
    SELECT * INTO s FROM strategies WHERE strategy_key = o.strategy_key FOR SHARE;
    v_until := greatest(o.changed_at, s.changed_at, pg_postmaster_start_time())
               + (p_recv_window_ms + p_visibility_ms) * interval '1 ms';
    IF o.state = 'opened' AND s.status = 'stopped' AND NOT EXISTS (SELECT FROM fills WHERE order_id = p_order_id)
       AND extract(epoch FROM v_until) * 1000 < least(p_looked_at_ms, extract(epoch FROM clock_timestamp()) * 1000) THEN
        o.detail := 'never attempted, in a strategy that is stopped';
        o := move_order(o, 'abandon');
        PERFORM reservation_give_back(o.reservation_id);
    END IF;
    RETURN o.state = 'abandoned';
END $$;

-- drain: the strategy is stopped and all its money is free. Refused, with what is still open, while that is not so.
CREATE FUNCTION pause_drained(p_operation_id text, p_holder text) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = backstop, pg_temp AS $$
DECLARE
    p      pauses;
    v_open text[];
BEGIN
    -- The strategy before the operation, as pause_open takes them.
    PERFORM FROM strategies WHERE strategy_key = (SELECT strategy_key FROM pauses WHERE operation_id = p_operation_id)
        FOR SHARE;
    p := lock_pause(p_operation_id, p_holder);
    IF p.state <> 'draining' THEN
        RETURN pause_status(p);
    END IF;
    v_open := strategy_open_ends(p.strategy_key);
    IF cardinality(v_open) > 0 THEN
        PERFORM refuse('BS009', format('strategy %s is not drained: %s', p.strategy_key, array_to_string(v_open, '; ')),
                       jsonb_build_object('subject', p.strategy_key, 'state', 'draining', 'event', 'drain',
                           'open', to_jsonb(v_open)));
    END IF;
    RETURN pause_status(move_pause(p, 'drain', NULL));
END $$;

-- block: the drain took too long, or was called off. Nothing moved; started again, the operation goes on.
-- complete / fail: how the withdrawal ended. Both are final.
CREATE FUNCTION pause_end(p_operation_id text, p_holder text, p_event text, p_reason text) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = backstop, pg_temp AS $$
DECLARE
    p pauses := lock_pause(p_operation_id, p_holder);
BEGIN
    IF p_event NOT IN ('block', 'complete', 'fail') THEN
        PERFORM refuse_input('event', 'block, complete or fail');
    END IF;
    IF p.state IN ('completed', 'failed', 'blocked') OR p_event = 'block' AND p.state <> 'draining' THEN
        RETURN pause_status(p);
    END IF;
    RETURN pause_status(move_pause(p, p_event, nullif(p_reason, '')));
END $$;

CREATE TRIGGER pauses_stay BEFORE DELETE ON pauses FOR EACH ROW EXECUTE FUNCTION refuse_rewriting();
