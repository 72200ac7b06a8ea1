-- Gates: how many intents to trade may be in flight, of all and of a venue; and of a strategy, which has one at a time, in the
-- order of tickets. A cancel only waits for its strategy: it must not stand in a crowd of orders. A claim is a state of its intent: it outlives the worker that made it, and ends in the commit that ends the intent.
-- Locks: after those of the intent, everything's gate before the venue's.

SET LOCAL search_path = backstop, public;

-- How many intents may be in flight at once. A venue without a row gets one when its first intent passes.
CREATE TABLE gates (
    scope         text PRIMARY KEY CHECK (scope ~ '^(global|venue/[a-z0-9_-]{1,32})$'),
    max_in_flight int NOT NULL DEFAULT 20 CHECK (max_in_flight > 0)
);
INSERT INTO gates (scope, max_in_flight) VALUES ('global', 100);

-- Locks a gate, and makes it where it is missing.
CREATE FUNCTION lock_gate(p_scope text) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM gates WHERE scope = p_scope FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        INSERT INTO gates (scope) VALUES (p_scope) ON CONFLICT DO NOTHING;
        PERFORM FROM gates WHERE scope = p_scope FOR NO KEY UPDATE;
    END IF;
END $$;

-- What keeps an intent from being claimed, in words; null when nothing does.
CREATE FUNCTION intent_obstacle(i intents) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
    v_other  text;
    v_max    int;
    v_scopes text[] := ARRAY['global', 'venue/' || i.venue];
    v_scope  text;
BEGIN
    SELECT intent_id INTO v_other FROM intents WHERE strategy_key = i.strategy_key AND state = 'claimed';
    IF v_other IS NOT NULL THEN
        RETURN format('intent %s of strategy %s is in flight', v_other, i.strategy_key);
    END IF;
    SELECT intent_id INTO v_other FROM intents
     WHERE strategy_key = i.strategy_key AND state = 'waiting' AND ticket < i.ticket ORDER BY ticket LIMIT 1;
    IF v_other IS NOT NULL THEN
        RETURN format('intent %s of strategy %s comes first', v_other, i.strategy_key);
    END IF;
    IF i.kind <> 'place_limit_order' THEN
        RETURN NULL;
    END IF;
    FOREACH v_scope IN ARRAY v_scopes LOOP
        SELECT max_in_flight INTO v_max FROM gates WHERE scope = v_scope;
        IF (SELECT count(*) FROM intents
             WHERE state = 'claimed' AND kind = 'place_limit_order' AND (v_scope = 'global' OR venue = i.venue)) >= coalesce(v_max, 20) THEN
            RETURN format('%s intents are in flight, as many as gate %s lets through', coalesce(v_max, 20), v_scope);
        END IF;
    END LOOP;
    RETURN NULL;
END $$;

-- claim: passes the gates, all in this one call. Who counts holds the gates' locks, so that no two take the last place.
-- Claims that are gone since the count only make room. An intent to trade whose strategy has been stopped since it took its
-- ticket is cancelled instead, also where the strategy runs again: it was meant for another market.
CREATE FUNCTION intent_claim(
    p_intent_id text, p_holder text, OUT claimed boolean, OUT state text, OUT why text
) RETURNS record
LANGUAGE plpgsql SECURITY DEFINER SET search_path = backstop, pg_temp AS $$
DECLARE
    i intents;
    s strategies;
BEGIN
    SELECT * INTO i FROM intents WHERE intent_id = p_intent_id;
    SELECT * INTO s FROM strategies WHERE strategy_key = i.strategy_key;
    -- A look without locks: those who wait, and they may be many, must not queue for the locks of those who pass.
    IF i.state = 'waiting' AND i.holder = p_holder
       AND (i.kind <> 'place_limit_order' OR s.version = i.strategy_version) THEN
        why := intent_obstacle(i);
        IF why IS NOT NULL THEN
            claimed := false;
            state := i.state;
            RETURN;
        END IF;
    END IF;
    SELECT * INTO s FROM strategies WHERE strategy_key = i.strategy_key FOR SHARE;
    i := lock_intent(p_intent_id, p_holder);
    IF i.state = 'waiting' AND i.kind = 'place_limit_order'
       AND (s.status <> 'running' OR s.version <> i.strategy_version) THEN
        i := move_intent(i, 'cancel', CASE s.status WHEN 'running' THEN format('strategy %s was stopped', s.strategy_key)
                                      ELSE format('strategy %s is %s', s.strategy_key, s.status) END);
    END IF;
    IF i.state = 'waiting' THEN
        IF i.kind = 'place_limit_order' THEN
            PERFORM lock_gate('global');
            PERFORM lock_gate('venue/' || i.venue);
        END IF;
        why := intent_obstacle(i);
        IF why IS NULL THEN
            i := move_intent(i, 'claim');
        END IF;
    END IF;
    claimed := i.state = 'claimed';
    state := i.state;
    why := coalesce(why, i.reason);
END $$;

-- Lets so many intents through a gate from now on. Those that are in flight stay so. Returns what it let through before.
CREATE FUNCTION gate_set(p_venue text, p_max_in_flight int) RETURNS int
LANGUAGE plpgsql SECURITY DEFINER SET search_path = backstop, pg_temp AS $$
DECLARE
    v_scope text := coalesce('venue/' || p_venue, 'global');
    v_known text[];
    v_old   int;
BEGIN
    IF p_max_in_flight IS NULL OR p_max_in_flight < 1 THEN
        PERFORM refuse_input('max_in_flight', 'a whole number above 0');
    END IF;
    v_known := ARRAY(SELECT venue FROM networks UNION SELECT venue FROM strategies ORDER BY 1);
    IF p_venue <> ALL (v_known) THEN
        PERFORM refuse_input('venue', 'one of the known venues: ' || array_to_string(v_known, ', '));
    END IF;
    PERFORM lock_gate(v_scope);
    SELECT max_in_flight INTO v_old FROM gates WHERE scope = v_scope;
    UPDATE gates SET max_in_flight = p_max_in_flight WHERE scope = v_scope;
    PERFORM emit('gate/' || v_scope, 'gate.set', jsonb_build_object('scope', v_scope, 'max_in_flight', p_max_in_flight));
    RETURN v_old;
END $$;
