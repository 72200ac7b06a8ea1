-- Strategies: who trades what where, and whether it runs. Stopping one takes its row lock, which everything that would
-- send an order in its name shares: once a stop is committed, nothing more is sent.

SET LOCAL search_path = backstop, public;

INSERT INTO transitions (machine, state, event, next) VALUES
    ('strategy', 'absent', 'start', 'running'),
    ('strategy', 'running', 'stop', 'stopped'),
    ('strategy', 'stopped', 'start', 'running');

CREATE TABLE strategies (
    strategy_key text PRIMARY KEY,
    owner        text NOT NULL CHECK (owner <> '' AND owner NOT LIKE '~%'),
    venue        text NOT NULL CHECK (venue ~ '^[a-z0-9_-]{1,32}$'),
    base         text NOT NULL REFERENCES assets,
    quote        text NOT NULL REFERENCES assets CHECK (quote <> base),
    parameters   jsonb NOT NULL,
    -- The start that a workflow runs it by, if one does.
    start_id     text,
    status       text NOT NULL CHECK (status IN ('running', 'stopped')),
    changed_by   text NOT NULL CHECK (changed_by <> ''),
    reason       text,
    -- Who has paused it, and why: it quotes nothing until it is resumed, or stopped and started again.
    paused_by    text CHECK (paused_by <> ''),
    paused_why   text CHECK (paused_why <> ''),
    version      bigint NOT NULL DEFAULT 1,
    changed_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    CHECK ((paused_by IS NULL) = (paused_why IS NULL))
);

CREATE FUNCTION lock_strategy(p_key text) RETURNS strategies
LANGUAGE plpgsql AS $$
DECLARE
    s strategies;
BEGIN
    SELECT * INTO s FROM strategies WHERE strategy_key = p_key FOR NO KEY UPDATE;
    IF s.strategy_key IS NULL THEN
        PERFORM refuse('BS008', format('there is no strategy %s', p_key),
                       jsonb_build_object('field', 'strategy_key', 'subject', p_key));
    END IF;
    RETURN s;
END $$;

CREATE FUNCTION move_strategy(s strategies, p_event text, p_by text, p_reason text) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    v_status text := next_state('strategy', s.strategy_key, s.status, p_event);
BEGIN
    UPDATE strategies
       SET status = v_status, changed_by = p_by, reason = p_reason, version = version + 1, changed_at = clock_timestamp()
     WHERE strategy_key = s.strategy_key;
    PERFORM emit('strategy/' || s.strategy_key, 'strategy.' || v_status,
                 jsonb_build_object('strategy_key', s.strategy_key, 'by', p_by, 'reason', p_reason));
END $$;

-- Refuses unless the strategy runs, and keeps it from being stopped until this commit.
CREATE FUNCTION share_running_strategy(p_key text) RETURNS strategies
LANGUAGE plpgsql AS $$
DECLARE
    s strategies;
BEGIN
    SELECT * INTO s FROM strategies WHERE strategy_key = p_key FOR SHARE;
    IF s.status IS DISTINCT FROM 'running' THEN
        PERFORM refuse('BS009', format('strategy %s is %s', p_key, coalesce(s.status, 'unknown')),
                       jsonb_build_object('subject', p_key, 'state', coalesce(s.status, 'absent'), 'event', 'trade'));
    END IF;
    RETURN s;
END $$;

-- start: makes the strategy, or runs one that was stopped. Not while somebody is taking its money out.
CREATE FUNCTION strategy_start(
    p_key text, p_owner text, p_venue text, p_base text, p_quote text, p_parameters jsonb, p_by text
) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = backstop, pg_temp AS $$
DECLARE
    s       strategies;
    v_pause text;
BEGIN
    INSERT INTO strategies (strategy_key, owner, venue, base, quote, parameters, status, changed_by)
    VALUES (p_key, p_owner, p_venue, p_base, p_quote, p_parameters, next_state('strategy', p_key, 'absent', 'start'), p_by)
    ON CONFLICT DO NOTHING RETURNING * INTO s;
    IF s.strategy_key IS NOT NULL THEN
        PERFORM emit('strategy/' || p_key, 'strategy.running', jsonb_build_object('strategy_key', p_key, 'by', p_by));
        RETURN true;
    END IF;
    s := lock_strategy(p_key);
    PERFORM refuse_other_content('strategy ' || p_key,
        jsonb_build_object('user_id', s.owner, 'venue', s.venue, 'base', s.base, 'quote', s.quote),
        jsonb_build_object('user_id', p_owner, 'venue', p_venue, 'base', p_base, 'quote', p_quote));
    IF s.status = 'running' THEN
        RETURN false;
    END IF;
    SELECT operation_id INTO v_pause FROM pauses WHERE strategy_key = p_key AND state IN ('draining', 'withdrawing') LIMIT 1;
    IF v_pause IS NOT NULL THEN
        PERFORM refuse('BS009', format('strategy %s is being withdrawn from by %s', p_key, v_pause),
                       jsonb_build_object('subject', p_key, 'state', s.status, 'event', 'start', 'operation_id', v_pause));
    END IF;
    UPDATE strategies SET parameters = p_parameters, start_id = NULL, paused_by = NULL, paused_why = NULL
     WHERE strategy_key = p_key;
    PERFORM move_strategy(s, 'start', p_by, NULL);
    RETURN true;
END $$;

-- stop: nothing more is sent in its name. Returns whether this call stopped it.
CREATE FUNCTION strategy_stop(p_key text, p_by text, p_reason text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = backstop, pg_temp AS $$
DECLARE
    s strategies := lock_strategy(p_key);
BEGIN
    IF s.status = 'stopped' THEN
        RETURN false;
    END IF;
    PERFORM move_strategy(s, 'stop', p_by, p_reason);
    RETURN true;
END $$;

-- pause (`p_paused`) or resume: what an operator says to a running strategy, on the record, so that whoever runs it next knows it as
-- well. Each word has an id: a repeat that comes late does not take back what was said since. Returns whether this call did it.
CREATE FUNCTION strategy_pause(p_key text, p_word_id text, p_paused boolean, p_by text, p_reason text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = backstop, pg_temp AS $$
DECLARE
    s     strategies := lock_strategy(p_key);
    v_act text := CASE WHEN p_paused THEN 'pause strategy' ELSE 'resume strategy' END;
BEGIN
    PERFORM refuse_unsigned(p_by, p_reason);
    IF NOT once('strategy/' || p_key, p_word_id) THEN
        RETURN false;
    END IF;
    IF s.status <> 'running' THEN
        PERFORM refuse('BS009', format('strategy %s is %s', p_key, s.status),
                       jsonb_build_object('subject', p_key, 'state', s.status, 'event', v_act));
    END IF;
    UPDATE strategies
       SET paused_by = CASE WHEN p_paused THEN p_by END, paused_why = CASE WHEN p_paused THEN p_reason END
     WHERE strategy_key = p_key;
    INSERT INTO operator_acts (act, subject, operator, evidence) VALUES (v_act, 'strategy/' || p_key, p_by, p_reason);
    PERFORM emit('strategy/' || p_key, CASE WHEN p_paused THEN 'strategy.paused' ELSE 'strategy.resumed' END,
                 jsonb_build_object('strategy_key', p_key, 'by', p_by, 'reason', p_reason));
    RETURN true;
END $$;

-- release: what a funded order has set aside becomes its user's to spend, all of it in one commit. A strategy of the user
-- trades with it: each of its orders sets its own money aside. Somebody's act, on the record. Returns whether this call did.
CREATE FUNCTION funding_release(p_order_id text, p_by text, p_reason text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = backstop, pg_temp AS $$
DECLARE
    f fundings;
    x funding_parts;
BEGIN
    IF coalesce(trim(p_by), '') = '' THEN
        PERFORM refuse_input('by', 'who releases it');
    END IF;
    IF coalesce(trim(p_reason), '') = '' THEN
        PERFORM refuse_input('reason', 'why it is released');
    END IF;
    SELECT * INTO f FROM fundings WHERE order_id = p_order_id FOR NO KEY UPDATE;
    IF f.order_id IS NULL THEN
        PERFORM refuse('BS008', format('there is no order %s', p_order_id), jsonb_build_object('subject', p_order_id));
    END IF;
    IF f.state = 'released' THEN
        RETURN false;
    END IF;
    UPDATE fundings
       SET state = next_state('funding', p_order_id, f.state, 'release'), reason = p_reason, changed_at = clock_timestamp()
     WHERE order_id = p_order_id RETURNING * INTO f;
    -- Their accounts are taken in the order of their ids.
    FOR x IN SELECT p.* FROM funding_parts AS p JOIN reservations AS r USING (reservation_id)
              WHERE p.order_id = p_order_id AND p.state = 'reserved' ORDER BY r.account, p.reservation_id
                FOR NO KEY UPDATE OF p LOOP
        UPDATE funding_parts
           SET state = next_state('part', x.reservation_id, x.state, 'keep'), reason = p_reason,
               changed_at = clock_timestamp()
         WHERE reservation_id = x.reservation_id;
        PERFORM reservation_give_back(x.reservation_id);
    END LOOP;
    INSERT INTO operator_acts (act, subject, operator, evidence)
    VALUES ('release order', funding_holder_id(p_order_id), p_by, p_reason);
    PERFORM emit('funding/' || p_order_id, 'order.released', f.content || jsonb_build_object('by', p_by, 'reason', p_reason));
    RETURN true;
END $$;

CREATE TRIGGER strategies_stay BEFORE DELETE ON strategies FOR EACH ROW EXECUTE FUNCTION refuse_rewriting();

-- Starts of strategies by a workflow that ticks them. Each start has an id of its own and happens once: a late repeat of it,
-- as by a second click or by whoever looks for lost workflows, does not run a strategy again that was stopped since.

CREATE TABLE strategy_starts (
    start_id     text PRIMARY KEY,
    strategy_key text NOT NULL REFERENCES strategies,
    holder       text NOT NULL CHECK (holder <> ''),
    content      jsonb NOT NULL,
    input        jsonb NOT NULL,
    at           timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- run: starts the strategy in the name of `p_start_id`, or tells what has become of that start: its strategy's status
-- while it is the last one, `stopped` afterwards.
CREATE FUNCTION strategy_run(
    p_start_id text, p_holder text, p_content jsonb, p_input jsonb, p_key text, p_owner text, p_venue text, p_base text,
    p_quote text, p_parameters jsonb, p_by text
) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = backstop, pg_temp AS $$
DECLARE
    s strategies;
    r strategy_starts;
BEGIN
    -- Two calls at once wait for each other here: there may be no row yet that they could wait at.
    PERFORM pg_advisory_xact_lock(hashtextextended('strategy/' || p_key, 0));
    SELECT * INTO s FROM strategies WHERE strategy_key = p_key FOR NO KEY UPDATE;
    SELECT * INTO r FROM strategy_starts WHERE start_id = p_start_id;
    IF r.start_id IS NOT NULL THEN
        PERFORM refuse_other_content('start ' || p_start_id, r.content, p_content);
        IF r.holder <> p_holder THEN
            PERFORM refuse('BS005', format('start %s is held by workflow %s', p_start_id, r.holder),
                           jsonb_build_object('subject', p_start_id, 'holder', r.holder));
        END IF;
        RETURN CASE WHEN s.start_id = p_start_id THEN s.status ELSE 'stopped' END;
    END IF;
    IF NOT EXISTS (SELECT FROM networks WHERE venue = p_venue) THEN
        PERFORM refuse_input('venue', 'one of the known venues: '
            || (SELECT coalesce(string_agg(DISTINCT venue, ', '), '(none)') FROM networks));
    END IF;
    IF (SELECT count(*) FROM assets WHERE asset IN (p_base, p_quote)) < 2 THEN
        PERFORM refuse_input('pair', 'two of the known assets: ' || (SELECT string_agg(asset, ', ' ORDER BY asset) FROM assets));
    END IF;
    IF NOT strategy_start(p_key, p_owner, p_venue, p_base, p_quote, p_parameters, p_by) THEN
        SELECT * INTO s FROM strategies WHERE strategy_key = p_key;
        IF s.start_id IS NOT NULL THEN
            PERFORM refuse('BS009', format('strategy %s is running since start %s', p_key, s.start_id),
                           jsonb_build_object('subject', p_key, 'state', s.status, 'event', 'start', 'start_id', s.start_id));
        END IF;
        UPDATE strategies SET parameters = p_parameters WHERE strategy_key = p_key;
    END IF;
    INSERT INTO strategy_starts (start_id, strategy_key, holder, content, input)
    VALUES (p_start_id, p_key, p_holder, p_content, p_input);
    UPDATE strategies SET start_id = p_start_id WHERE strategy_key = p_key;
    RETURN 'running';
END $$;

CREATE TRIGGER strategy_starts_stay BEFORE UPDATE OR DELETE ON strategy_starts
    FOR EACH ROW EXECUTE FUNCTION refuse_rewriting();
