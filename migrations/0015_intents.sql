-- Intents: what a strategy wants done at its venue. An intent takes a ticket, passes the gates (0016), sets aside what its
-- order may take, and is over in the commit that takes the order's fate down.
--
-- Locks: a strategy before its intents, an intent before its order.

SET LOCAL search_path = backstop, public;

INSERT INTO transitions (machine, state, event, next) VALUES
    ('intent', 'absent', 'open', 'waiting'),
    ('intent', 'absent', 'abandon', 'abandoned'),
    ('intent', 'waiting', 'claim', 'claimed'),
    ('intent', 'waiting', 'cancel', 'cancelled'),
    ('intent', 'waiting', 'fail', 'failed'),
    ('intent', 'claimed', 'finish', 'done'),
    ('intent', 'claimed', 'fail', 'failed'),
    ('intent', 'claimed', 'cancel', 'cancelled');

CREATE TABLE intents (
    intent_id        text PRIMARY KEY CHECK (intent_id <> ''),
    holder           text NOT NULL CHECK (holder <> ''),
    content          jsonb NOT NULL,
    input            jsonb NOT NULL,
    kind             text NOT NULL CHECK (kind IN ('place_limit_order', 'cancel_order')),
    -- The tombstone of an intent that was never opened has none.
    strategy_key     text REFERENCES strategies,
    -- The strategy's version when the intent was opened: another one says that it has been stopped since.
    strategy_version bigint,
    venue            text,
    -- Of the order that it places, or that it cancels.
    order_id         text NOT NULL,
    -- Drawn under the strategy's row lock, which is held until the commit: among the intents of one strategy tickets are
    -- in the order of commits, and no smaller one can show up later.
    ticket           bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
    state            text NOT NULL CHECK (state IN ('waiting', 'claimed', 'done', 'failed', 'cancelled', 'abandoned')),
    reason           text,
    claimed_at       timestamptz,
    ended_at         timestamptz,
    version          bigint NOT NULL DEFAULT 1,
    changed_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    CHECK ((ended_at IS NULL) = (state IN ('waiting', 'claimed'))),
    CHECK (claimed_at IS NULL OR state NOT IN ('waiting', 'abandoned')),
    CHECK (claimed_at IS NOT NULL OR state NOT IN ('claimed', 'done')),
    CHECK (num_nulls(strategy_key, strategy_version, venue) = CASE state WHEN 'abandoned' THEN 3 ELSE 0 END)
);
-- Whatever the claims' own rule comes to, a strategy has one intent in flight.
CREATE UNIQUE INDEX intents_in_flight ON intents (strategy_key) WHERE state = 'claimed';
CREATE INDEX intents_claimed ON intents (venue) WHERE state = 'claimed';
CREATE INDEX intents_waiting ON intents (strategy_key, ticket) WHERE state = 'waiting';
-- Whatever looks at those that are not over says so in these words, and reads no others.
CREATE INDEX intents_unfinished ON intents (strategy_key, changed_at) WHERE state IN ('waiting', 'claimed');
CREATE UNIQUE INDEX intents_placing ON intents (order_id) WHERE kind = 'place_limit_order';

-- What a consumer has processed, written in the commit that processed it.
CREATE TABLE receipts (
    consumer text NOT NULL,
    key      text NOT NULL,
    at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (consumer, key)
);

-- Whether this is the first time that the consumer sees the key. Said in the consumer's own transaction: what it does with
-- the key is done once, however often and in however many processes the key comes. Who comes second while the first has not
-- committed waits for that, and is the first after all if the other is rolled back.
CREATE FUNCTION once(p_consumer text, p_key text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = backstop, pg_temp AS $$
BEGIN
    IF coalesce(p_consumer, '') = '' THEN
        PERFORM refuse_input('consumer', 'the name of the consumer');
    END IF;
    IF coalesce(p_key, '') = '' THEN
        PERFORM refuse_input('key', 'the key that comes once, as the id of an event');
    END IF;
    INSERT INTO receipts (consumer, key) VALUES (p_consumer, p_key) ON CONFLICT DO NOTHING;
    RETURN FOUND;
END $$;

CREATE TYPE intent_receipt AS (
    applied boolean, intent_id text, state text, ticket bigint, venue text, order_id text, order_state text,
    venue_order_id text, reason text
);

CREATE FUNCTION intent_receipt_of(i intents, p_applied boolean) RETURNS intent_receipt
LANGUAGE sql STABLE AS $$
    SELECT ROW(p_applied, i.intent_id, i.state, i.ticket, i.venue, i.order_id, o.state, o.venue_order_id, i.reason)
               ::intent_receipt
      FROM (SELECT) AS one LEFT JOIN orders AS o ON o.order_id = i.order_id;
$$;

CREATE FUNCTION move_intent(i intents, p_event text, p_reason text DEFAULT NULL) RETURNS intents
LANGUAGE plpgsql AS $$
DECLARE
    moment timestamptz := clock_timestamp();
BEGIN
    i.state := next_state('intent', i.intent_id, i.state, p_event);
    UPDATE intents
       SET state = i.state, reason = coalesce(p_reason, reason), version = version + 1, changed_at = moment,
           claimed_at = CASE i.state WHEN 'claimed' THEN moment ELSE claimed_at END,
           ended_at = CASE i.state WHEN 'claimed' THEN NULL ELSE moment END
     WHERE intent_id = i.intent_id RETURNING * INTO i;
    PERFORM emit('intent/' || i.intent_id, 'intent.' || i.state, i.content || jsonb_strip_nulls(jsonb_build_object(
        'intent_id', i.intent_id, 'ticket', i.ticket, 'order_id', i.order_id, 'reason', p_reason)));
    RETURN i;
END $$;

-- The same intent, in the same hands until it is over.
CREATE FUNCTION refuse_other_intent(i intents, p_holder text, p_content jsonb) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM refuse_other_content('intent/' || i.intent_id, i.content, p_content);
    IF i.holder <> p_holder AND i.ended_at IS NULL THEN
        PERFORM refuse('BS005', format('intent/%s is held by workflow %s', i.intent_id, i.holder),
                       jsonb_build_object('subject', 'intent/' || i.intent_id, 'holder', i.holder));
    END IF;
    IF i.state = 'abandoned' THEN
        PERFORM refuse('BS006', format('intent/%s was ended before it was opened (%s); use a new id', i.intent_id, i.reason),
                       jsonb_build_object('subject', 'intent/' || i.intent_id, 'reason', i.reason));
    END IF;
END $$;

CREATE FUNCTION lock_intent(p_intent_id text, p_holder text) RETURNS intents
LANGUAGE plpgsql AS $$
DECLARE
    i intents;
BEGIN
    SELECT * INTO i FROM intents WHERE intent_id = p_intent_id FOR NO KEY UPDATE;
    IF i.intent_id IS NULL THEN
        PERFORM refuse('BS008', format('there is no intent %s', p_intent_id),
                       jsonb_build_object('subject', 'intent/' || p_intent_id));
    END IF;
    PERFORM refuse_other_intent(i, p_holder, i.content);
    RETURN i;
END $$;

-- What an intent names has to be what its strategy is.
CREATE FUNCTION refuse_bad_intent(s strategies, p_content jsonb, p_order_id text) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    IF s.strategy_key IS NULL THEN
        PERFORM refuse('BS008', format('there is no strategy %s', p_content ->> 'strategy_key'),
                       jsonb_build_object('field', 'strategy_key', 'subject', p_content ->> 'strategy_key'));
    END IF;
    IF p_content ->> 'user_id' IS DISTINCT FROM s.owner THEN
        PERFORM refuse_input('user_id', format('the owner of strategy %s', s.strategy_key));
    END IF;
    IF p_content ->> 'venue' IS DISTINCT FROM s.venue THEN
        PERFORM refuse_input('venue', format('%s, where strategy %s trades', s.venue, s.strategy_key));
    END IF;
    IF p_content ->> 'pair' IS DISTINCT FROM s.base || '/' || s.quote THEN
        PERFORM refuse_input('pair', format('%s/%s, which strategy %s trades', s.base, s.quote, s.strategy_key));
    END IF;
    IF p_content ->> 'kind' = 'cancel_order' THEN
        IF NOT EXISTS (SELECT FROM intents WHERE order_id = p_order_id AND kind = 'place_limit_order'
                          AND strategy_key = s.strategy_key) THEN
            PERFORM refuse_input('order_intent_id', format('an intent of strategy %s that places an order', s.strategy_key));
        END IF;
    END IF;
END $$;

-- Whether an intent could be opened, and how it stands where it was. Changes nothing.
CREATE FUNCTION intent_check(p_intent_id text, p_holder text, p_content jsonb, p_order_id text) RETURNS intent_receipt
LANGUAGE plpgsql SECURITY DEFINER SET search_path = backstop, pg_temp AS $$
DECLARE
    i intents;
    s strategies;
BEGIN
    SELECT * INTO i FROM intents WHERE intent_id = p_intent_id;
    IF i.intent_id IS NOT NULL THEN
        PERFORM refuse_other_intent(i, p_holder, p_content);
        RETURN intent_receipt_of(i, false);
    END IF;
    SELECT * INTO s FROM strategies WHERE strategy_key = p_content ->> 'strategy_key';
    PERFORM refuse_bad_intent(s, p_content, p_order_id);
    RETURN ROW(false, p_intent_id, 'absent', NULL, s.venue, p_order_id, NULL, NULL, NULL)::intent_receipt;
END $$;

-- open: takes a ticket. An intent to trade of a strategy that does not run is cancelled in the same commit: its id is ended,
-- and whoever asks again hears the same.
CREATE FUNCTION intent_open(p_intent_id text, p_holder text, p_content jsonb, p_input jsonb, p_order_id text)
RETURNS intent_receipt
LANGUAGE plpgsql SECURITY DEFINER SET search_path = backstop, pg_temp AS $$
DECLARE
    s strategies;
    i intents;
BEGIN
    SELECT * INTO s FROM strategies WHERE strategy_key = p_content ->> 'strategy_key' FOR NO KEY UPDATE;
    SELECT * INTO i FROM intents WHERE intent_id = p_intent_id FOR NO KEY UPDATE;
    IF i.intent_id IS NULL THEN
        PERFORM refuse_bad_intent(s, p_content, p_order_id);
        INSERT INTO intents (intent_id, holder, content, input, kind, strategy_key, strategy_version, venue, order_id, state)
        VALUES (p_intent_id, p_holder, p_content, p_input, p_content ->> 'kind', s.strategy_key, s.version, s.venue,
                p_order_id, next_state('intent', p_intent_id, 'absent', 'open'))
        ON CONFLICT (intent_id) DO NOTHING RETURNING * INTO i;
        IF i.intent_id IS NOT NULL THEN
            PERFORM emit('intent/' || p_intent_id, 'intent.waiting', p_content || jsonb_build_object(
                'intent_id', p_intent_id, 'ticket', i.ticket, 'order_id', p_order_id));
            IF i.kind = 'place_limit_order' AND s.status <> 'running' THEN
                i := move_intent(i, 'cancel', format('strategy %s is %s', s.strategy_key, s.status));
            END IF;
            RETURN intent_receipt_of(i, true);
        END IF;
        -- Opened at this moment for another strategy.
        SELECT * INTO STRICT i FROM intents WHERE intent_id = p_intent_id FOR NO KEY UPDATE;
    END IF;
    PERFORM refuse_other_intent(i, p_holder, p_content);
    RETURN intent_receipt_of(i, false);
END $$;

-- Refuses an order of an intent whose strategy has been stopped since it took its ticket, and runs again: it was meant for another
-- market. The caller shares the strategy's row.
CREATE FUNCTION refuse_outlived(p_order_id text) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    v_intent text;
BEGIN
    SELECT i.intent_id INTO v_intent FROM intents AS i JOIN strategies AS s USING (strategy_key)
     WHERE i.order_id = p_order_id AND i.kind = 'place_limit_order'
       AND s.status = 'running' AND i.strategy_version <> s.version;
    IF v_intent IS NOT NULL THEN
        PERFORM refuse('BS009', format('the strategy of intent/%s was stopped since', v_intent),
                       jsonb_build_object('subject', 'intent/' || v_intent, 'state', 'stopped', 'event', 'trade'));
    END IF;
END $$;

-- reserve: sets aside what a claimed intent's order may take. As `order_open`, but never for an intent that is over.
CREATE FUNCTION intent_reserve(p_intent_id text, p_holder text) RETURNS intent_receipt
LANGUAGE plpgsql SECURITY DEFINER SET search_path = backstop, pg_temp AS $$
DECLARE
    i         intents;
    v_applied boolean;
BEGIN
    PERFORM FROM strategies
     WHERE strategy_key = (SELECT strategy_key FROM intents WHERE intent_id = p_intent_id) FOR SHARE;
    i := lock_intent(p_intent_id, p_holder);
    IF i.ended_at IS NOT NULL THEN
        RETURN intent_receipt_of(i, false);
    END IF;
    PERFORM next_state('intent', i.intent_id, i.state, 'finish');
    PERFORM refuse_outlived(i.order_id);
    v_applied := order_open(i.order_id, p_holder, i.strategy_key, i.content ->> 'side', (i.content ->> 'price')::numeric,
                            (i.content ->> 'qty')::numeric);
    RETURN intent_receipt_of(i, v_applied);
END $$;

-- finish: the venue has the order (or has ended the one that was to be cancelled), and the intent is processed: one commit.
-- The order's part is a fact, and is taken down whatever became of the intent.
CREATE FUNCTION intent_finish(p_intent_id text, p_holder text, p_venue_order_id text, p_reason text)
RETURNS intent_receipt
LANGUAGE plpgsql SECURITY DEFINER SET search_path = backstop, pg_temp AS $$
DECLARE
    i intents := lock_intent(p_intent_id, p_holder);
BEGIN
    IF i.kind = 'place_limit_order' THEN
        IF p_venue_order_id IS NULL THEN
            PERFORM refuse_input('venue_order_id', 'the venue''s id of the order');
        END IF;
        PERFORM order_place(i.order_id, p_venue_order_id);
    END IF;
    IF i.ended_at IS NOT NULL THEN
        RETURN intent_receipt_of(i, false);
    END IF;
    i := move_intent(i, 'finish', p_reason);
    IF NOT once('ExecuteIntent', p_intent_id) THEN
        -- Its state and its receipt are written together, so somebody else has written this one.
        PERFORM refuse('BS004', format('intent/%s is not done, but has a receipt', p_intent_id),
                       jsonb_build_object('subject', 'intent/' || p_intent_id, 'field', 'receipt'));
    END IF;
    RETURN intent_receipt_of(i, true);
END $$;

-- Ends an intent of which nothing was sent, or nothing more is. Refused once its order may be at the venue.
CREATE FUNCTION end_unsent(i intents, p_event text, p_reason text) RETURNS intent_receipt
LANGUAGE plpgsql AS $$
DECLARE
    o orders;
BEGIN
    IF i.ended_at IS NOT NULL THEN
        RETURN intent_receipt_of(i, false);
    END IF;
    IF i.kind = 'place_limit_order' THEN
        SELECT * INTO o FROM orders WHERE order_id = i.order_id FOR NO KEY UPDATE;
        IF o.state IN ('attempted', 'placed', 'ended') THEN
            PERFORM refuse('BS007', format('order/%s of intent/%s is %s: it may have been sent', o.order_id, i.intent_id,
                               o.state),
                           jsonb_build_object('subject', 'intent/' || i.intent_id, 'state', o.state));
        END IF;
        IF o.state = 'opened' THEN
            PERFORM order_abandon(o.order_id, i.holder, o.strategy_key, o.side, o.price, o.quantity, p_reason);
        END IF;
    END IF;
    RETURN intent_receipt_of(move_intent(i, p_event, p_reason), true);
END $$;

-- fail, since the order is void: refused by the venue, or absent by a look that began at `p_looked_at_ms`. One commit. While
-- the order may be at the venue, as when somebody has found it meanwhile, nothing changes.
CREATE FUNCTION intent_void(
    p_intent_id text, p_holder text, p_looked_at_ms bigint, p_rejected boolean, p_reason text
) RETURNS intent_receipt
LANGUAGE plpgsql SECURITY DEFINER SET search_path = backstop, pg_temp AS $$
DECLARE
    i intents := lock_intent(p_intent_id, p_holder);
BEGIN
    IF i.kind <> 'place_limit_order' THEN
        PERFORM refuse_input('intent_id', 'an intent that places an order');
    END IF;
    PERFORM order_void(i.order_id, p_looked_at_ms, p_rejected, p_reason);
    IF EXISTS (SELECT FROM orders WHERE order_id = i.order_id AND state IN ('attempted', 'placed', 'ended')) THEN
        RETURN intent_receipt_of(i, false);
    END IF;
    RETURN end_unsent(i, 'fail', p_reason);
END $$;

-- fail: it can't be done.
CREATE FUNCTION intent_fail(p_intent_id text, p_holder text, p_reason text) RETURNS intent_receipt
LANGUAGE sql SECURITY DEFINER SET search_path = backstop, pg_temp AS $$
    SELECT end_unsent(lock_intent(p_intent_id, p_holder), 'fail', p_reason);
$$;

-- cancel: nobody wants it any more.
CREATE FUNCTION intent_cancel(p_intent_id text, p_holder text, p_reason text) RETURNS intent_receipt
LANGUAGE sql SECURITY DEFINER SET search_path = backstop, pg_temp AS $$
    SELECT end_unsent(lock_intent(p_intent_id, p_holder), 'cancel', p_reason);
$$;

-- abandon: undoes an opening that may or may not have happened. Leaves a tombstone where it did not, so that a late one can
-- never apply; ends it by `p_event` where it did.
CREATE FUNCTION intent_abandon(
    p_intent_id text, p_holder text, p_content jsonb, p_input jsonb, p_order_id text, p_event text, p_reason text
) RETURNS intent_receipt
LANGUAGE plpgsql SECURITY DEFINER SET search_path = backstop, pg_temp AS $$
DECLARE
    i intents;
BEGIN
    IF p_event NOT IN ('fail', 'cancel') THEN
        PERFORM refuse_input('event', 'fail or cancel');
    END IF;
    INSERT INTO intents (intent_id, holder, content, input, kind, order_id, state, reason, ended_at)
    VALUES (p_intent_id, p_holder, p_content, p_input, p_content ->> 'kind', p_order_id,
            next_state('intent', p_intent_id, 'absent', 'abandon'), p_reason, clock_timestamp())
    ON CONFLICT (intent_id) DO NOTHING RETURNING * INTO i;
    IF i.intent_id IS NOT NULL THEN
        PERFORM emit('intent/' || p_intent_id, 'intent.abandoned', p_content || jsonb_build_object(
            'intent_id', p_intent_id, 'order_id', p_order_id, 'reason', p_reason));
        RETURN intent_receipt_of(i, true);
    END IF;
    SELECT * INTO STRICT i FROM intents WHERE intent_id = p_intent_id FOR NO KEY UPDATE;
    IF i.state = 'abandoned' AND i.holder = p_holder AND i.content = p_content THEN
        RETURN intent_receipt_of(i, false);
    END IF;
    PERFORM refuse_other_intent(i, p_holder, p_content);
    RETURN end_unsent(i, p_event, p_reason);
END $$;

CREATE TRIGGER intents_stay BEFORE DELETE ON intents FOR EACH ROW EXECUTE FUNCTION refuse_rewriting();
CREATE TRIGGER receipts_stay BEFORE UPDATE OR DELETE ON receipts FOR EACH ROW EXECUTE FUNCTION refuse_rewriting();
