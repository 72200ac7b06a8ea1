-- Orders at a venue, and their fills. An order is sent at most once: its attempt is the pivot, and what its answer did not
-- say is looked up by its client id. Its reservation shrinks with every fill; only its end releases the rest, and not
-- before every unit that the venue executed is booked.

SET LOCAL search_path = backstop, public;

INSERT INTO transitions (machine, state, event, next) VALUES
    ('order', 'absent', 'open', 'opened'),
    ('order', 'absent', 'abandon', 'abandoned'),
    ('order', 'opened', 'abandon', 'abandoned'),
    ('order', 'opened', 'attempt', 'attempted'),
    ('order', 'attempted', 'place', 'placed'),
    ('order', 'attempted', 'void', 'void'),
    ('order', 'attempted', 'end', 'ended'),
    ('order', 'placed', 'end', 'ended');

CREATE TABLE orders (
    -- The client order id, too.
    order_id       text PRIMARY KEY CHECK (order_id ~ '^[A-Za-z0-9_-]{1,36}$'),
    holder         text NOT NULL CHECK (holder <> ''),
    content        jsonb NOT NULL,
    strategy_key   text NOT NULL REFERENCES strategies,
    owner          text NOT NULL,
    venue          text NOT NULL,
    base           text NOT NULL REFERENCES assets,
    quote          text NOT NULL REFERENCES assets,
    side           text NOT NULL CHECK (side IN ('buy', 'sell')),
    price          numeric(38, 18) NOT NULL CHECK (price > 0),
    quantity       numeric(38, 18) NOT NULL CHECK (quantity > 0),
    reservation_id text NOT NULL UNIQUE,
    state          text NOT NULL CHECK (state IN ('opened', 'attempted', 'placed', 'void', 'ended', 'abandoned')),
    signed_at      timestamptz,
    deadline       timestamptz,
    void_after     timestamptz,
    venue_order_id text,
    executed       numeric(38, 18) NOT NULL DEFAULT 0 CHECK (executed >= 0),
    detail         text,
    version        bigint NOT NULL DEFAULT 1,
    changed_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    CHECK ((signed_at IS NULL) = (state IN ('opened', 'abandoned')))
);
CREATE INDEX orders_live ON orders (strategy_key) WHERE state IN ('opened', 'attempted', 'placed');

-- What a fill did, by the venue's trade id.
CREATE TABLE fills (
    venue     text NOT NULL,
    trade_id  text NOT NULL,
    order_id  text NOT NULL REFERENCES orders,
    base      numeric(38, 18) NOT NULL CHECK (base > 0),
    quote     numeric(38, 18) NOT NULL CHECK (quote >= 0),
    fee       numeric(38, 18) NOT NULL CHECK (fee >= 0),
    fee_asset text NOT NULL,
    -- What the reservation gave; less than the leg when more was executed than was reserved.
    reserved  numeric(38, 18) NOT NULL CHECK (reserved >= 0),
    at        timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (venue, trade_id)
);
CREATE INDEX fills_of_order ON fills (order_id);

CREATE FUNCTION lock_order(p_order_id text) RETURNS orders
LANGUAGE plpgsql AS $$
DECLARE
    o orders;
BEGIN
    SELECT * INTO o FROM orders WHERE order_id = p_order_id FOR NO KEY UPDATE;
    IF o.order_id IS NULL THEN
        PERFORM refuse('BS008', format('there is no order %s', p_order_id), jsonb_build_object('subject', p_order_id));
    END IF;
    RETURN o;
END $$;

CREATE FUNCTION move_order(o orders, p_event text) RETURNS orders
LANGUAGE plpgsql AS $$
BEGIN
    o.state := next_state('order', o.order_id, o.state, p_event);
    UPDATE orders
       SET state = o.state, signed_at = o.signed_at, deadline = o.deadline, void_after = o.void_after,
           venue_order_id = o.venue_order_id, executed = o.executed, detail = o.detail, version = version + 1,
           changed_at = clock_timestamp()
     WHERE order_id = o.order_id RETURNING * INTO o;
    PERFORM emit('order/' || o.order_id, 'order.' || o.state, o.content || jsonb_strip_nulls(jsonb_build_object(
        'order_id', o.order_id, 'venue_order_id', o.venue_order_id, 'executed', trim_scale(o.executed)::text,
        'detail', o.detail)));
    RETURN o;
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

-- What an order sets aside: the base it sells, or the quote it may pay.
CREATE FUNCTION order_needs(p_side text, p_price numeric, p_quantity numeric) RETURNS numeric
LANGUAGE sql IMMUTABLE AS $$ SELECT CASE p_side WHEN 'sell' THEN p_quantity ELSE p_price * p_quantity END $$;

-- open: what the order may take is set aside. Nothing is sent yet.
CREATE FUNCTION order_open(
    p_order_id text, p_holder text, p_strategy_key text, p_side text, p_price numeric, p_quantity numeric
) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = backstop, pg_temp AS $$
DECLARE
    v_content jsonb := jsonb_build_object('strategy_key', p_strategy_key, 'side', p_side,
                           'price', trim_scale(p_price)::text, 'quantity', trim_scale(p_quantity)::text);
    v_id      text := 'order/' || p_order_id;
    s         strategies;
    o         orders;
BEGIN
    SELECT * INTO o FROM orders WHERE order_id = p_order_id FOR NO KEY UPDATE;
    IF o.order_id IS NULL THEN
        s := share_running_strategy(p_strategy_key);
        INSERT INTO orders (order_id, holder, content, strategy_key, owner, venue, base, quote, side, price, quantity,
                            reservation_id, state)
        VALUES (p_order_id, p_holder, v_content, p_strategy_key, s.owner, s.venue, s.base, s.quote, p_side, p_price,
                p_quantity, v_id, next_state('order', p_order_id, 'absent', 'open'))
        ON CONFLICT DO NOTHING RETURNING * INTO o;
        IF o.order_id IS NOT NULL THEN
            PERFORM reservation_put(v_id, p_holder, s.owner, CASE p_side WHEN 'sell' THEN s.base ELSE s.quote END,
                                    order_needs(p_side, p_price, p_quantity), p_strategy_key, true);
            PERFORM emit(v_id, 'order.opened', v_content || jsonb_build_object('order_id', p_order_id));
            RETURN true;
        END IF;
        SELECT * INTO STRICT o FROM orders WHERE order_id = p_order_id FOR NO KEY UPDATE;
    END IF;
    PERFORM refuse_other_content(v_id, o.content, v_content);
    IF o.holder <> p_holder THEN
        PERFORM refuse('BS005', format('%s is held by workflow %s', v_id, o.holder),
                       jsonb_build_object('subject', v_id, 'holder', o.holder));
    END IF;
    RETURN false;
END $$;

CREATE FUNCTION release_order(o orders) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM reservation_release(o.reservation_id, o.holder, o.owner,
                                CASE o.side WHEN 'sell' THEN o.base ELSE o.quote END,
                                order_needs(o.side, o.price, o.quantity));
END $$;

-- abandon: the order is not sent any more; what was set aside is released.
CREATE FUNCTION order_abandon(p_order_id text, p_holder text, p_reason text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = backstop, pg_temp AS $$
DECLARE
    o orders := lock_order(p_order_id);
BEGIN
    IF o.holder <> p_holder THEN
        PERFORM refuse('BS005', format('order/%s is held by workflow %s', p_order_id, o.holder),
                       jsonb_build_object('subject', 'order/' || p_order_id, 'holder', o.holder));
    END IF;
    IF o.state = 'abandoned' THEN
        RETURN false;
    END IF;
    IF o.state <> 'opened' THEN
        PERFORM refuse('BS007', format('order/%s is %s: it may have been sent', p_order_id, o.state),
                       jsonb_build_object('subject', 'order/' || p_order_id, 'state', o.state));
    END IF;
    o.detail := p_reason;
    o := move_order(o, 'abandon');
    PERFORM release_order(o);
    RETURN true;
END $$;

-- attempt: the one call before the one send. Returns the timestamp to sign, ms since 1970.
CREATE FUNCTION order_attempt(p_order_id text, p_holder text, p_recv_window_ms int, p_visibility_ms int) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = backstop, pg_temp AS $$
DECLARE
    o      orders := lock_order(p_order_id);
    moment timestamptz;
BEGIN
    IF o.holder <> p_holder THEN
        PERFORM refuse('BS005', format('order/%s is held by workflow %s', p_order_id, o.holder),
                       jsonb_build_object('subject', 'order/' || p_order_id, 'holder', o.holder));
    END IF;
    IF o.state IN ('attempted', 'placed') THEN
        PERFORM refuse('BS010', format('order/%s is %s: it may have taken effect', p_order_id, o.state),
                       jsonb_build_object('subject', 'order/' || p_order_id, 'outcome', o.state));
    END IF;
    PERFORM next_state('order', p_order_id, o.state, 'attempt');
    PERFORM share_running_strategy(o.strategy_key);
    moment := date_trunc('milliseconds', clock_timestamp());
    o.signed_at := moment;
    o.deadline := moment + p_recv_window_ms * interval '1 ms';
    o.void_after := moment + (p_recv_window_ms + p_visibility_ms) * interval '1 ms';
    PERFORM move_order(o, 'attempt');
    RETURN (extract(epoch FROM moment) * 1000)::bigint;
END $$;

-- place: the venue has it. A fact, taken in any state that can still learn of it.
CREATE FUNCTION order_place(p_order_id text, p_venue_order_id text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = backstop, pg_temp AS $$
DECLARE
    o orders := lock_order(p_order_id);
BEGIN
    IF o.state = 'void' THEN
        PERFORM find('order_placed_after_void', 'order/' || p_order_id, 'critical',
                     jsonb_build_object('venue_order_id', p_venue_order_id));
    END IF;
    IF o.state <> 'attempted' THEN
        RETURN false;
    END IF;
    o.venue_order_id := p_venue_order_id;
    PERFORM move_order(o, 'place');
    RETURN true;
END $$;

-- void: the venue refused it, or a lookup that began at `p_looked_at_ms`, past its time, found nothing. Returns whether
-- the order is void now.
CREATE FUNCTION order_void(p_order_id text, p_looked_at_ms bigint, p_rejected boolean, p_detail text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = backstop, pg_temp AS $$
DECLARE
    o orders := lock_order(p_order_id);
BEGIN
    IF o.state = 'attempted' AND (p_rejected OR extract(epoch FROM o.void_after) * 1000
                                      < least(p_looked_at_ms, extract(epoch FROM clock_timestamp()) * 1000)) THEN
        o.detail := p_detail;
        o := move_order(o, 'void');
        PERFORM release_order(o);
    END IF;
    RETURN o.state = 'void';
END $$;

-- A fill's two legs and its fee, once by the venue's trade id. Never refused: what is more than was reserved is taken
-- from suspense, with a finding.
CREATE FUNCTION fill_book(
    p_order_id text, p_trade_id text, p_base numeric, p_quote numeric, p_fee numeric, p_fee_asset text
) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = backstop, pg_temp AS $$
DECLARE
    o       orders := lock_order(p_order_id);
    r       reservations;
    v_key   text := format('fill/%s/%s', o.venue, p_trade_id);
    v_gives text := CASE o.side WHEN 'sell' THEN o.base ELSE o.quote END;
    v_gets  text := CASE o.side WHEN 'sell' THEN o.quote ELSE o.base END;
    v_out   numeric := CASE o.side WHEN 'sell' THEN p_base ELSE p_quote END;
    v_in    numeric := CASE o.side WHEN 'sell' THEN p_quote ELSE p_base END;
    v_to    bigint;
    v_fee   numeric := 0;
BEGIN
    IF EXISTS (SELECT FROM fills WHERE venue = o.venue AND trade_id = p_trade_id) THEN
        RETURN false;
    END IF;
    SELECT * INTO STRICT r FROM reservations WHERE reservation_id = o.reservation_id FOR NO KEY UPDATE;
    INSERT INTO fills (venue, trade_id, order_id, base, quote, fee, fee_asset, reserved)
    VALUES (o.venue, p_trade_id, p_order_id, p_base, p_quote, p_fee, p_fee_asset, least(v_out, r.remaining))
    ON CONFLICT DO NOTHING;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    v_to := account_of(o.owner, v_gets);
    PERFORM FROM accounts WHERE id IN (r.account, v_to) ORDER BY id FOR NO KEY UPDATE;
    IF v_out > r.remaining THEN
        PERFORM find('fill_beyond_reservation', 'order/' || p_order_id, 'critical', jsonb_build_object(
            'trade_id', p_trade_id, 'asset_id', v_gives, 'missing', trim_scale(v_out - r.remaining)::text));
        v_out := r.remaining;
    END IF;
    IF v_out > 0 THEN
        PERFORM post(v_key, 1, 'fill_out', r.account, 'market:' || o.venue, 0, -v_out, 0);
        UPDATE reservations SET remaining = remaining - v_out WHERE reservation_id = r.reservation_id;
    END IF;
    IF v_in > 0 THEN
        PERFORM post(v_key, 2, 'fill_in', v_to, 'market:' || o.venue, v_in, 0, 0);
    END IF;
    IF p_fee_asset = v_gets THEN
        v_fee := least(p_fee, v_in);
    END IF;
    IF v_fee > 0 THEN
        PERFORM post(v_key, 3, 'fill_fee', v_to, 'fees', -v_fee, 0, 0);
    END IF;
    IF p_fee > v_fee THEN
        -- Taken by the venue out of the house's own holdings.
        PERFORM find('fee_in_another_asset', 'order/' || p_order_id, 'warning', jsonb_build_object(
            'trade_id', p_trade_id, 'fee', trim_scale(p_fee)::text, 'fee_asset', p_fee_asset));
    END IF;
    PERFORM emit('order/' || p_order_id, 'order.filled', jsonb_build_object('order_id', p_order_id, 'trade_id', p_trade_id,
        'base', trim_scale(p_base)::text, 'quote', trim_scale(p_quote)::text, 'fee', trim_scale(p_fee)::text,
        'fee_asset', p_fee_asset));
    RETURN true;
END $$;

-- end: the venue has closed the order after executing that much. Refused until that much is booked.
CREATE FUNCTION order_end(p_order_id text, p_executed numeric, p_detail text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = backstop, pg_temp AS $$
DECLARE
    o        orders := lock_order(p_order_id);
    v_booked numeric;
BEGIN
    IF o.state = 'ended' THEN
        RETURN false;
    END IF;
    SELECT coalesce(sum(base), 0) INTO v_booked FROM fills WHERE order_id = p_order_id;
    IF v_booked <> p_executed THEN
        PERFORM refuse('BS009', format('order/%s executed %s, of which %s is booked', p_order_id, trim_scale(p_executed),
                           trim_scale(v_booked)),
                       jsonb_build_object('subject', 'order/' || p_order_id, 'state', o.state, 'event', 'end',
                           'executed', trim_scale(p_executed)::text, 'booked', trim_scale(v_booked)::text));
    END IF;
    o.executed := p_executed;
    o.detail := p_detail;
    o := move_order(o, 'end');
    PERFORM release_order(o);
    RETURN true;
END $$;

-- What keeps a strategy from being drained, in words; nothing, when it is stopped and all its money is free.
CREATE FUNCTION strategy_open_ends(p_key text) RETURNS text[]
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = backstop, pg_temp AS $$
    SELECT coalesce(array_agg(open_end ORDER BY open_end), '{}') FROM (
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
         WHERE r.strategy_key = p_key AND r.state = 'open') AS ends;
$$;

CREATE TRIGGER orders_stay BEFORE DELETE ON orders FOR EACH ROW EXECUTE FUNCTION refuse_rewriting();
CREATE TRIGGER fills_stay BEFORE UPDATE OR DELETE ON fills FOR EACH ROW EXECUTE FUNCTION refuse_rewriting();
