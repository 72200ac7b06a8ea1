-- Orders at a venue, and their fills. An order is sent at most once: its attempt is the pivot, and what its answer did not
-- say is looked up by its client id. Only what certainly was not sent may be attempted again. Its reservation shrinks with
-- every fill; only its end releases the rest, and not before every unit that the venue executed is booked.

SET LOCAL search_path = backstop, public;

INSERT INTO transitions (machine, state, event, next) VALUES
    ('order', 'absent', 'open', 'opened'),
    ('order', 'absent', 'abandon', 'abandoned'),
    ('order', 'opened', 'abandon', 'abandoned'),
    ('order', 'opened', 'attempt', 'attempted'),
    ('order', 'attempted', 'not_send', 'opened'),
    ('order', 'opened', 'place', 'placed'),
    ('order', 'attempted', 'place', 'placed'),
    ('order', 'attempted', 'void', 'void'),
    ('order', 'attempted', 'end', 'ended'),
    ('order', 'placed', 'end', 'ended');

CREATE TABLE orders (
    -- The client order id, too.
    order_id       text PRIMARY KEY CHECK (order_id ~ '^[A-Za-z0-9_-]{1,36}$'),
    holder         text NOT NULL CHECK (holder <> ''),
    content        jsonb NOT NULL,
    -- Of a strategy that was there; the tombstone of an order that was never opened may have none.
    strategy_key   text REFERENCES strategies,
    owner          text,
    venue          text,
    base           text REFERENCES assets,
    quote          text REFERENCES assets,
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
    CHECK ((signed_at IS NULL) = (state IN ('opened', 'abandoned'))),
    CHECK (num_nulls(strategy_key, owner, venue, base, quote) = 0
           OR state = 'abandoned' AND num_nonnulls(strategy_key, owner, venue, base, quote) = 0)
);
CREATE INDEX orders_live ON orders (strategy_key) WHERE state IN ('opened', 'attempted', 'placed');

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

-- What an order sets aside: the base it sells, or the quote it may pay, rounded up to what the quote can be divided into.
CREATE FUNCTION order_needs(s strategies, p_side text, p_price numeric, p_quantity numeric) RETURNS numeric
LANGUAGE sql STABLE AS $$
    SELECT CASE p_side WHEN 'sell' THEN p_quantity
                       ELSE ceil(p_price * p_quantity * power(10::numeric, decimals)) / power(10::numeric, decimals) END
      FROM assets WHERE asset = s.quote;
$$;

CREATE FUNCTION order_content(p_strategy_key text, p_side text, p_price numeric, p_quantity numeric) RETURNS jsonb
LANGUAGE sql IMMUTABLE AS $$
    SELECT jsonb_build_object('strategy_key', p_strategy_key, 'side', p_side,
                              'price', trim_scale(p_price)::text, 'quantity', trim_scale(p_quantity)::text);
$$;

CREATE FUNCTION refuse_bad_order(p_order_id text, p_side text, p_price numeric, p_quantity numeric) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    IF p_order_id !~ '^[A-Za-z0-9_-]{1,36}$' THEN
        PERFORM refuse_input('order_id', '1 to 36 letters, digits, dashes and underscores');
    END IF;
    IF p_side NOT IN ('buy', 'sell') THEN
        PERFORM refuse_input('side', 'buy or sell');
    END IF;
    IF p_price <= 0 OR p_price >= 1e20 OR scale(trim_scale(p_price)) > 18 THEN
        PERFORM refuse_input('price', 'a decimal above 0 and below 10^20, with at most 18 decimal places');
    END IF;
    IF p_quantity <= 0 OR p_quantity >= 1e20 OR scale(trim_scale(p_quantity)) > 18 THEN
        PERFORM refuse_input('quantity', 'a decimal above 0 and below 10^20, with at most 18 decimal places');
    END IF;
END $$;

CREATE FUNCTION refuse_other_order(o orders, p_holder text, p_content jsonb) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM refuse_other_content('order/' || o.order_id, o.content, p_content);
    IF o.holder <> p_holder THEN
        PERFORM refuse('BS005', format('order/%s is held by workflow %s', o.order_id, o.holder),
                       jsonb_build_object('subject', 'order/' || o.order_id, 'holder', o.holder));
    END IF;
END $$;

-- open: what the order may take is set aside. Nothing is sent yet.
CREATE FUNCTION order_open(
    p_order_id text, p_holder text, p_strategy_key text, p_side text, p_price numeric, p_quantity numeric
) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = backstop, pg_temp AS $$
DECLARE
    v_content jsonb := order_content(p_strategy_key, p_side, p_price, p_quantity);
    v_id      text := 'order/' || p_order_id;
    s         strategies;
    o         orders;
BEGIN
    SELECT * INTO o FROM orders WHERE order_id = p_order_id FOR NO KEY UPDATE;
    IF o.order_id IS NULL THEN
        PERFORM refuse_bad_order(p_order_id, p_side, p_price, p_quantity);
        s := share_running_strategy(p_strategy_key);
        PERFORM refuse_halted(s.venue, p_strategy_key);
        INSERT INTO orders (order_id, holder, content, strategy_key, owner, venue, base, quote, side, price, quantity,
                            reservation_id, state)
        VALUES (p_order_id, p_holder, v_content, p_strategy_key, s.owner, s.venue, s.base, s.quote, p_side, p_price,
                p_quantity, v_id, next_state('order', p_order_id, 'absent', 'open'))
        ON CONFLICT DO NOTHING RETURNING * INTO o;
        IF o.order_id IS NOT NULL THEN
            PERFORM reservation_put(v_id, p_holder, s.owner, CASE p_side WHEN 'sell' THEN s.base ELSE s.quote END,
                                    order_needs(s, p_side, p_price, p_quantity), p_strategy_key, true);
            PERFORM emit(v_id, 'order.opened', v_content || jsonb_build_object('order_id', p_order_id));
            RETURN true;
        END IF;
        SELECT * INTO STRICT o FROM orders WHERE order_id = p_order_id FOR NO KEY UPDATE;
    END IF;
    PERFORM refuse_other_order(o, p_holder, v_content);
    IF o.state = 'abandoned' THEN
        PERFORM refuse('BS006', format('%s was ended before it was sent (%s); use a new id', v_id, o.detail),
                       jsonb_build_object('subject', v_id, 'reason', o.detail));
    END IF;
    RETURN false;
END $$;

-- abandon: the order is not sent any more; what was set aside is released. Leaves a tombstone where nothing was opened, so
-- that a late open can never apply.
CREATE FUNCTION order_abandon(
    p_order_id text, p_holder text, p_strategy_key text, p_side text, p_price numeric, p_quantity numeric, p_reason text
) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = backstop, pg_temp AS $$
DECLARE
    v_content jsonb := order_content(p_strategy_key, p_side, p_price, p_quantity);
    v_id      text := 'order/' || p_order_id;
    s         strategies;
    o         orders;
BEGIN
    PERFORM refuse_bad_order(p_order_id, p_side, p_price, p_quantity);
    SELECT * INTO s FROM strategies WHERE strategy_key = p_strategy_key;
    INSERT INTO orders (order_id, holder, content, strategy_key, owner, venue, base, quote, side, price, quantity,
                        reservation_id, state, detail)
    VALUES (p_order_id, p_holder, v_content, s.strategy_key, s.owner, s.venue, s.base, s.quote, p_side, p_price,
            p_quantity, v_id, next_state('order', p_order_id, 'absent', 'abandon'), p_reason)
    ON CONFLICT DO NOTHING RETURNING * INTO o;
    IF o.order_id IS NOT NULL THEN
        PERFORM emit(v_id, 'order.abandoned', v_content || jsonb_build_object('order_id', p_order_id, 'detail', p_reason));
        RETURN true;
    END IF;
    o := lock_order(p_order_id);
    PERFORM refuse_other_order(o, p_holder, v_content);
    IF o.state = 'abandoned' THEN
        RETURN false;
    END IF;
    IF o.state <> 'opened' OR EXISTS (SELECT FROM fills WHERE order_id = p_order_id) THEN
        PERFORM refuse('BS007', format('order/%s is %s: it may have been sent', p_order_id, o.state),
                       jsonb_build_object('subject', v_id, 'state', o.state));
    END IF;
    o.detail := p_reason;
    PERFORM move_order(o, 'abandon');
    PERFORM reservation_give_back(o.reservation_id);
    RETURN true;
END $$;

-- place: the venue has it. A fact: what the books did not expect is a critical finding, and moves nothing, but for an order
-- that is only opened. Its attempt was lost by books that were put back: it is taken down as placed, and can be ended.
CREATE FUNCTION order_place(p_order_id text, p_venue_order_id text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = backstop, pg_temp AS $$
DECLARE
    o orders := lock_order(p_order_id);
BEGIN
    IF o.state IN ('void', 'opened', 'abandoned') THEN
        PERFORM find(CASE o.state WHEN 'void' THEN 'order_placed_after_void' ELSE 'order_placed_without_attempt' END,
                     'order/' || p_order_id, 'critical',
                     jsonb_build_object('venue_order_id', p_venue_order_id, 'state', o.state));
    END IF;
    IF o.venue_order_id <> p_venue_order_id THEN
        PERFORM find('order_placed_twice', 'order/' || p_order_id, 'critical',
                     jsonb_build_object('venue_order_id', o.venue_order_id, 'other', p_venue_order_id));
    END IF;
    IF o.state NOT IN ('opened', 'attempted') THEN
        -- Whose its trades are can be told from now on.
        UPDATE orders SET venue_order_id = p_venue_order_id
         WHERE order_id = p_order_id AND venue_order_id IS NULL AND state = 'void';
        RETURN false;
    END IF;
    -- When it was signed, nobody knows any more: by now it was.
    o.signed_at := coalesce(o.signed_at, date_trunc('milliseconds', clock_timestamp()));
    o.venue_order_id := p_venue_order_id;
    PERFORM move_order(o, 'place');
    RETURN true;
END $$;

-- void: the venue refused it, or a lookup that began at `p_looked_at_ms`, past its time, found nothing; but never when it
-- has traded. Returns whether the order is void now.
CREATE FUNCTION order_void(p_order_id text, p_looked_at_ms bigint, p_rejected boolean, p_detail text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = backstop, pg_temp AS $$
DECLARE
    o orders := lock_order(p_order_id);
BEGIN
    IF o.state = 'attempted' AND NOT EXISTS (SELECT FROM fills WHERE order_id = p_order_id)
       AND (p_rejected OR extract(epoch FROM o.void_after) * 1000
                              < least(p_looked_at_ms, extract(epoch FROM clock_timestamp()) * 1000)) THEN
        o.detail := p_detail;
        o := move_order(o, 'void');
        PERFORM reservation_give_back(o.reservation_id);
    END IF;
    RETURN o.state = 'void';
END $$;

-- end: the venue has closed the order after executing that much. Not before that much is booked. A fact: what the books
-- did not expect moves nothing, but is a critical finding.
CREATE FUNCTION order_end(p_order_id text, p_executed numeric, p_detail text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = backstop, pg_temp AS $$
DECLARE
    o        orders := lock_order(p_order_id);
    v_booked numeric;
BEGIN
    IF o.state NOT IN ('attempted', 'placed') THEN
        IF o.state <> 'ended' OR o.executed <> p_executed THEN
            PERFORM find('order_end_not_expected', 'order/' || p_order_id, 'critical', jsonb_build_object(
                'state', o.state, 'booked', trim_scale(o.executed)::text, 'executed', trim_scale(p_executed)::text));
        END IF;
        RETURN false;
    END IF;
    SELECT coalesce(sum(base), 0) INTO v_booked FROM fills WHERE order_id = p_order_id;
    IF v_booked IS DISTINCT FROM p_executed THEN
        PERFORM refuse('BS009', format('order/%s executed %s, of which %s is booked', p_order_id, trim_scale(p_executed),
                           trim_scale(v_booked)),
                       jsonb_build_object('subject', 'order/' || p_order_id, 'state', o.state, 'event', 'end',
                           'executed', trim_scale(p_executed)::text, 'booked', trim_scale(v_booked)::text));
    END IF;
    o.executed := p_executed;
    o.detail := p_detail;
    PERFORM move_order(o, 'end');
    PERFORM reservation_give_back(o.reservation_id);
    RETURN true;
END $$;

-- resolve: an operator's word on an order whose record the venue does not give out any more. Of one that may have been sent: its id
-- there, or null when it was not executed. Of one that is known to be there, or has traded: null, for it is over, and what is
-- booked is all there was. Not before its time is over. On the record. Returns whether this call decided it.
CREATE FUNCTION order_resolve(p_order_id text, p_venue_order_id text, p_operator text, p_evidence text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = backstop, pg_temp AS $$
DECLARE
    o        orders := lock_order(p_order_id);
    v_now_ms bigint := (extract(epoch FROM clock_timestamp()) * 1000)::bigint;
    v_booked numeric;
    v_over   boolean;
BEGIN
    PERFORM refuse_unsigned(p_operator, p_evidence);
    IF o.state NOT IN ('attempted', 'placed') OR o.state = 'placed' AND p_venue_order_id IS NOT NULL THEN
        RETURN false;
    END IF;
    SELECT sum(base) INTO v_booked FROM fills WHERE order_id = p_order_id;
    v_over := p_venue_order_id IS NULL AND (o.state = 'placed' OR v_booked IS NOT NULL);
    IF clock_timestamp() <= o.void_after THEN
        PERFORM refuse('BS011', format('order/%s may still show until %s', p_order_id, o.void_after),
                       jsonb_build_object('subject', 'order/' || p_order_id));
    END IF;
    INSERT INTO operator_acts (act, subject, operator, evidence)
    VALUES (CASE WHEN p_venue_order_id IS NOT NULL THEN 'resolve executed' WHEN v_over THEN 'resolve over'
                 ELSE 'resolve not_executed' END, 'order/' || p_order_id, p_operator, p_evidence);
    IF v_over THEN
        RETURN order_end(p_order_id, coalesce(v_booked, 0), format('over, says %s: %s', p_operator, p_evidence));
    END IF;
    IF p_venue_order_id IS NULL THEN
        RETURN order_void(p_order_id, v_now_ms, false, format('not executed, says %s: %s', p_operator, p_evidence));
    END IF;
    RETURN order_place(p_order_id, p_venue_order_id);
END $$;

CREATE TRIGGER orders_stay BEFORE DELETE ON orders FOR EACH ROW EXECUTE FUNCTION refuse_rewriting();
