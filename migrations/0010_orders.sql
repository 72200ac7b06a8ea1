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

-- What a fill did, by the venue's trade id. That id is the order's only: a venue counts the trades of each market from 1,
-- and a trade between two orders of ours bears one id for both.
CREATE TABLE fills (
    order_id  text NOT NULL REFERENCES orders,
    trade_id  text NOT NULL,
    base      numeric(38, 18) NOT NULL CHECK (base >= 0),
    quote     numeric(38, 18) NOT NULL CHECK (quote >= 0),
    -- Negative when the venue pays for the trade.
    fee       numeric(38, 18) NOT NULL,
    fee_asset text NOT NULL,
    -- What the reservation gave; less than the leg when more was executed than was reserved.
    reserved  numeric(38, 18) NOT NULL CHECK (reserved >= 0),
    -- What the user got for that; the rest of the other leg waits in suspense.
    credited  numeric(38, 18) NOT NULL CHECK (credited >= 0),
    -- What the house paid of the fee out of what it holds at the venue; nothing while nobody knows the asset.
    house_fee numeric(38, 18) NOT NULL,
    at        timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (order_id, trade_id)
);

-- Trades at a venue of orders that the books don't know. Nobody can say whose they are, so nobody's balance is touched: what came
-- in waits in suspense, and what was given for it, and the fee, the house's own stock at the venue has paid. An order that
-- turns up after all (of books that were put back, and whose workflow takes it down again) takes its trades back.
CREATE TABLE suspended_fills (
    venue          text NOT NULL,
    venue_order_id text NOT NULL,
    trade_id       text NOT NULL,
    side           text NOT NULL CHECK (side IN ('buy', 'sell')),
    base_asset     text NOT NULL REFERENCES assets,
    quote_asset    text NOT NULL REFERENCES assets,
    base           numeric(38, 18) NOT NULL CHECK (base >= 0),
    quote          numeric(38, 18) NOT NULL CHECK (quote >= 0),
    fee            numeric(38, 18) NOT NULL,
    fee_asset      text NOT NULL,
    -- What the house paid of the fee; nothing while nobody knows the asset.
    house_fee      numeric(38, 18) NOT NULL,
    -- Whom an operator has given what came in.
    given_to       text CHECK (given_to <> ''),
    -- Whose it turned out to be; and whether the house had to pay for what came in, which was not in suspense any more.
    order_id       text REFERENCES orders,
    house_pays     boolean NOT NULL DEFAULT false,
    at             timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (venue, venue_order_id, trade_id)
);

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

-- A trade is booked as an order's, or suspended, by one at a time.
CREATE FUNCTION lock_trade(p_venue text, p_venue_order_id text, p_trade_id text) RETURNS void
LANGUAGE sql AS $$
    SELECT pg_advisory_xact_lock(hashtextextended(concat_ws('/', 'trade', p_venue, p_venue_order_id, p_trade_id), 0));
$$;

-- The accounts that a suspended trade moves: of what came in, of what was given for it, and of the fee.
CREATE FUNCTION suspense_of(f suspended_fills) RETURNS bigint[]
LANGUAGE sql AS $$
    SELECT ARRAY[account_of('~suspense', CASE f.side WHEN 'buy' THEN f.base_asset ELSE f.quote_asset END),
                 account_of('~suspense', CASE f.side WHEN 'buy' THEN f.quote_asset ELSE f.base_asset END),
                 CASE WHEN f.house_fee <> 0 THEN account_of('~suspense', f.fee_asset) END];
$$;

-- The postings of a suspended trade, or those that take it back (`p_sign` -1). The house's part passes through as money in
-- transit, as a fee in a third asset does.
CREATE FUNCTION post_suspended(f suspended_fills, p_of bigint[], p_key text, p_sign int) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    v_in  numeric := p_sign * CASE f.side WHEN 'buy' THEN f.base ELSE f.quote END;
    v_out numeric := p_sign * CASE f.side WHEN 'buy' THEN f.quote ELSE f.base END;
    v_fee numeric := p_sign * f.house_fee;
BEGIN
    IF v_in <> 0 AND NOT f.house_pays THEN
        PERFORM post(p_key, 1, 'suspended_fill_in', p_of[1], 'market:' || f.venue, v_in, 0, 0);
    ELSIF v_in <> 0 THEN
        PERFORM post(p_key, 1, 'suspended_fill_in', p_of[1], 'market:' || f.venue, 0, 0, v_in);
        PERFORM post(p_key, 6, 'suspended_fill_in', p_of[1], 'house:' || f.venue, 0, 0, -v_in);
    END IF;
    IF v_out <> 0 THEN
        PERFORM post(p_key, 2, 'suspended_fill_out', p_of[2], 'house:' || f.venue, 0, 0, v_out);
        PERFORM post(p_key, 3, 'suspended_fill_out', p_of[2], 'market:' || f.venue, 0, 0, -v_out);
    END IF;
    IF v_fee <> 0 THEN
        PERFORM post(p_key, 4, 'suspended_fill_fee', p_of[3], 'house:' || f.venue, 0, 0, v_fee);
        PERFORM post(p_key, 5, 'suspended_fill_fee', p_of[3], 'fees', 0, 0, -v_fee);
    END IF;
END $$;

-- Suspends a trade of an order that is at the venue under an id like ours, and in no row here, once. Returns whether this call did:
-- not when the books know the order by now.
CREATE FUNCTION fill_suspend(
    p_venue text, p_symbol text, p_client_id text, p_venue_order_id text, p_trade_id text, p_side text,
    p_base numeric, p_quote numeric, p_fee numeric, p_fee_asset text
) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = backstop, pg_temp AS $$
DECLARE
    v_key text := format('suspended_fill/%s/%s/%s', p_venue, p_venue_order_id, p_trade_id);
    v_of  bigint[];
    m     strategies;
    f     suspended_fills;
BEGIN
    SELECT * INTO m FROM strategies WHERE venue = p_venue AND base || quote = p_symbol LIMIT 1;
    IF m.strategy_key IS NULL THEN
        PERFORM refuse_input('symbol', 'a market of a strategy at that venue');
    END IF;
    PERFORM lock_trade(p_venue, p_venue_order_id, p_trade_id);
    IF EXISTS (SELECT FROM orders
                WHERE order_id = p_client_id OR venue = p_venue AND base || quote = p_symbol AND venue_order_id = p_venue_order_id) THEN
        RETURN false;
    END IF;
    INSERT INTO suspended_fills (venue, venue_order_id, trade_id, side, base_asset, quote_asset, base, quote, fee, fee_asset,
                                 house_fee)
    VALUES (p_venue, p_venue_order_id, p_trade_id, p_side, m.base, m.quote, p_base, p_quote, p_fee, p_fee_asset,
            CASE WHEN EXISTS (SELECT FROM assets WHERE asset = p_fee_asset) THEN p_fee ELSE 0 END)
    ON CONFLICT DO NOTHING RETURNING * INTO f;
    IF f.venue IS NULL THEN
        RETURN false;
    END IF;
    IF f.house_fee <> p_fee THEN
        PERFORM find('fee_in_unknown_asset', v_key, 'warning',
                     jsonb_build_object('fee', trim_scale(p_fee)::text, 'fee_asset', p_fee_asset));
    END IF;
    v_of := suspense_of(f);
    PERFORM FROM accounts WHERE id = ANY (v_of) ORDER BY id FOR NO KEY UPDATE;
    PERFORM post_suspended(f, v_of, v_key, 1);
    PERFORM emit('order/' || p_client_id, 'order.fill_suspended', jsonb_build_object('venue', p_venue,
        'venue_order_id', p_venue_order_id, 'trade_id', p_trade_id, 'side', p_side, 'base_asset', m.base, 'quote_asset', m.quote,
        'base', trim_scale(p_base)::text, 'quote', trim_scale(p_quote)::text, 'fee', trim_scale(p_fee)::text,
        'fee_asset', p_fee_asset));
    RETURN true;
END $$;

-- An operator says who gets what came in by a suspended trade: a user, the house, or a pool of rewards. What was given for it
-- stays the house's.
CREATE FUNCTION fill_assign(
    p_venue text, p_venue_order_id text, p_trade_id text, p_owner text, p_operator text, p_evidence text
) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = backstop, pg_temp AS $$
DECLARE
    v_key text := format('suspended_fill/%s/%s/%s', p_venue, p_venue_order_id, p_trade_id);
    v_in  numeric;
    v_to  bigint;
    f     suspended_fills;
BEGIN
    IF p_owner = '' OR p_owner LIKE '~%' AND p_owner <> '~house' AND p_owner !~ '^~rewards:.' THEN
        PERFORM refuse_input('user_id', 'a user, ~house, or ~rewards:<pool>');
    END IF;
    PERFORM lock_trade(p_venue, p_venue_order_id, p_trade_id);
    SELECT * INTO f FROM suspended_fills
     WHERE venue = p_venue AND venue_order_id = p_venue_order_id AND trade_id = p_trade_id;
    IF f.venue IS NULL THEN
        PERFORM refuse('BS008', format('there is no %s', v_key), jsonb_build_object('subject', v_key));
    ELSIF f.order_id IS NOT NULL THEN
        PERFORM refuse('BS007', format('%s is of order/%s', v_key, f.order_id), jsonb_build_object('subject', v_key));
    ELSIF f.given_to <> p_owner THEN
        PERFORM refuse('BS004', format('%s was given to %s', v_key, f.given_to),
                       jsonb_build_object('subject', v_key, 'field', 'user_id'));
    ELSIF f.given_to IS NOT NULL THEN
        RETURN false;
    END IF;
    INSERT INTO operator_acts (act, subject, operator, evidence)
    VALUES ('assign fill', format('%s to %s', v_key, p_owner), p_operator, p_evidence);
    UPDATE suspended_fills SET given_to = p_owner
     WHERE venue = p_venue AND venue_order_id = p_venue_order_id AND trade_id = p_trade_id;
    v_in := CASE f.side WHEN 'buy' THEN f.base ELSE f.quote END;
    v_to := account_of(p_owner, CASE f.side WHEN 'buy' THEN f.base_asset ELSE f.quote_asset END);
    PERFORM FROM accounts WHERE id IN ((suspense_of(f))[1], v_to) ORDER BY id FOR NO KEY UPDATE;
    PERFORM post(v_key || '/give', 1, 'suspended_fill_given', (suspense_of(f))[1], 'suspense', -v_in, 0, 0);
    PERFORM post(v_key || '/give', 2, 'suspended_fill_given', v_to, 'suspense', v_in, 0, 0);
    RETURN true;
END $$;

-- Takes a suspended trade back, as it is booked as an order's. For what was given away the house pays.
CREATE FUNCTION take_back(f suspended_fills, p_of bigint[], p_order_id text) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    v_key text := format('suspended_fill/%s/%s/%s', f.venue, f.venue_order_id, f.trade_id);
    v_in  numeric := CASE f.side WHEN 'buy' THEN f.base ELSE f.quote END;
BEGIN
    f.house_pays := f.given_to IS NOT NULL OR (SELECT available FROM accounts WHERE id = p_of[1]) < v_in;
    IF f.house_pays THEN
        PERFORM find('suspended_fill_gone', v_key, 'critical', to_jsonb(f) || jsonb_build_object('order_id', p_order_id));
    END IF;
    UPDATE suspended_fills SET order_id = p_order_id, house_pays = f.house_pays
     WHERE venue = f.venue AND venue_order_id = f.venue_order_id AND trade_id = f.trade_id;
    PERFORM post_suspended(f, p_of, v_key || '/back', -1);
END $$;

-- A fill's two legs and its fee, once by the venue's trade id. Of an order that the books know, never refused: where more is given than
-- was reserved, the house gives it, and what comes in for it waits in suspense, with a finding. The user pays the fee out of what came in. What the venue takes
-- otherwise, as in a third asset, it takes from the house's own holdings: a posting from there to the fees, which passes
-- through the user's account of that asset as money in transit. So the fee stands in the books of the user whose fill it
-- was, no balance changes, and there is no row that all fills would share.
CREATE FUNCTION fill_book(
    p_order_id text, p_trade_id text, p_base numeric, p_quote numeric, p_fee numeric, p_fee_asset text
) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = backstop, pg_temp AS $$
DECLARE
    o           orders := lock_order(p_order_id);
    f           fills;
    h           suspended_fills;
    v_held      bigint[];
    r           reservations;
    v_key       text := format('fill/%s/%s', p_order_id, p_trade_id);
    v_market    text := 'market:' || o.venue;
    v_gives     text := CASE o.side WHEN 'sell' THEN o.base ELSE o.quote END;
    v_gets      text := CASE o.side WHEN 'sell' THEN o.quote ELSE o.base END;
    v_out       numeric := CASE o.side WHEN 'sell' THEN p_base ELSE p_quote END;
    v_in        numeric := CASE o.side WHEN 'sell' THEN p_quote ELSE p_base END;
    v_paid      numeric;
    v_credited  numeric;
    v_fee       numeric := 0;
    v_house     numeric := 0;
    v_to        bigint;
    v_suspense  bigint;
    v_short     bigint;
    v_fees      bigint;
BEGIN
    SELECT * INTO f FROM fills WHERE order_id = p_order_id AND trade_id = p_trade_id;
    IF f.trade_id IS NOT NULL THEN
        IF (f.base, f.quote, f.fee, f.fee_asset) IS DISTINCT FROM (p_base, p_quote, p_fee, p_fee_asset) THEN
            PERFORM find('fill_differs', v_key, 'critical', jsonb_build_object('booked', to_jsonb(f), 'record',
                jsonb_build_object('base', p_base, 'quote', p_quote, 'fee', p_fee, 'fee_asset', p_fee_asset)));
        END IF;
        RETURN false;
    END IF;
    IF o.venue IS NULL THEN
        PERFORM refuse('BS008', format('order/%s was never opened, and nobody knows its market', p_order_id),
                       jsonb_build_object('subject', 'order/' || p_order_id));
    END IF;
    IF o.state NOT IN ('attempted', 'placed') THEN
        PERFORM find('fill_not_expected', 'order/' || p_order_id, 'critical',
                     jsonb_build_object('trade_id', p_trade_id, 'state', o.state));
        UPDATE orders SET executed = executed + p_base WHERE order_id = p_order_id AND state = 'ended';
    END IF;
    SELECT * INTO r FROM reservations WHERE reservation_id = o.reservation_id FOR NO KEY UPDATE;
    v_paid := least(v_out, coalesce(r.remaining, 0));
    v_credited := v_in;
    v_to := account_of(o.owner, v_gets);
    IF v_paid < v_out THEN
        v_credited := trunc(v_in * v_paid / v_out, 18);
        v_suspense := account_of('~suspense', v_gets);
        v_short := account_of('~suspense', v_gives);
        PERFORM find('fill_beyond_reservation', 'order/' || p_order_id, 'critical', jsonb_build_object(
            'trade_id', p_trade_id, 'asset_id', v_gives, 'missing', trim_scale(v_out - v_paid)::text,
            'in_suspense', trim_scale(v_in - v_credited)::text));
    END IF;
    IF p_fee_asset = v_gets THEN
        v_fee := least(p_fee, v_credited);
    END IF;
    IF p_fee <> v_fee THEN
        IF EXISTS (SELECT FROM assets WHERE asset = p_fee_asset) THEN
            v_house := p_fee - v_fee;
            v_fees := account_of(o.owner, p_fee_asset);
        ELSE
            PERFORM find('fee_in_unknown_asset', v_key, 'warning', jsonb_build_object(
                'fee', trim_scale(p_fee)::text, 'fee_asset', p_fee_asset));
        END IF;
        IF p_fee_asset = v_gets THEN
            PERFORM find('fee_beyond_proceeds', v_key, 'warning', jsonb_build_object(
                'fee', trim_scale(p_fee)::text, 'fee_asset', p_fee_asset, 'paid_by_house', trim_scale(v_house)::text));
        END IF;
    END IF;
    PERFORM lock_trade(o.venue, o.venue_order_id, p_trade_id);
    SELECT * INTO h FROM suspended_fills
     WHERE venue = o.venue AND venue_order_id = o.venue_order_id AND trade_id = p_trade_id;
    IF h.venue IS NOT NULL THEN
        v_held := suspense_of(h);
    END IF;
    INSERT INTO fills (order_id, trade_id, base, quote, fee, fee_asset, reserved, credited, house_fee)
    VALUES (p_order_id, p_trade_id, p_base, p_quote, p_fee, p_fee_asset, v_paid, v_credited, v_house);
    PERFORM FROM accounts WHERE id = ANY (ARRAY[r.account, v_to, v_suspense, v_short, v_fees] || v_held) ORDER BY id FOR NO KEY UPDATE;
    IF h.venue IS NOT NULL THEN
        PERFORM take_back(h, v_held, p_order_id);
    END IF;
    IF v_paid > 0 THEN
        PERFORM post(v_key, 1, 'fill_out', r.account, v_market, 0, -v_paid, 0);
        UPDATE reservations SET remaining = remaining - v_paid WHERE reservation_id = r.reservation_id;
    END IF;
    IF v_credited > 0 THEN
        PERFORM post(v_key, 2, 'fill_in', v_to, v_market, v_credited, 0, 0);
    END IF;
    IF v_fee <> 0 THEN
        PERFORM post(v_key, 3, 'fill_fee', v_to, 'fees', -v_fee, 0, 0);
    END IF;
    IF v_in > v_credited THEN
        PERFORM post(v_key, 4, 'fill_suspended', v_suspense, v_market, v_in - v_credited, 0, 0);
    END IF;
    IF v_house <> 0 THEN
        PERFORM post(v_key, 5, 'fill_house_fee', v_fees, 'house:' || o.venue, 0, 0, v_house);
        PERFORM post(v_key, 6, 'fill_house_fee', v_fees, 'fees', 0, 0, -v_house);
    END IF;
    IF v_paid < v_out THEN
        PERFORM post(v_key, 7, 'fill_house_out', v_short, 'house:' || o.venue, 0, 0, v_out - v_paid);
        PERFORM post(v_key, 8, 'fill_house_out', v_short, v_market, 0, 0, v_paid - v_out);
    END IF;
    PERFORM emit('order/' || p_order_id, 'order.filled', jsonb_build_object('order_id', p_order_id, 'trade_id', p_trade_id,
        'base', trim_scale(p_base)::text, 'quote', trim_scale(p_quote)::text, 'fee', trim_scale(p_fee)::text,
        'fee_asset', p_fee_asset));
    RETURN true;
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

-- resolve: an operator's word on an order that may have been sent, and whose record the venue does not give out any more: its id there,
-- or null when it was not executed. Not before its time is over. On the record. Returns whether this call decided it.
CREATE FUNCTION order_resolve(p_order_id text, p_venue_order_id text, p_operator text, p_evidence text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = backstop, pg_temp AS $$
DECLARE
    o        orders := lock_order(p_order_id);
    v_now_ms bigint := (extract(epoch FROM clock_timestamp()) * 1000)::bigint;
BEGIN
    PERFORM refuse_unsigned(p_operator, p_evidence);
    IF o.state <> 'attempted' THEN
        RETURN false;
    END IF;
    IF clock_timestamp() <= o.void_after THEN
        PERFORM refuse('BS011', format('order/%s may still show until %s', p_order_id, o.void_after),
                       jsonb_build_object('subject', 'order/' || p_order_id));
    END IF;
    INSERT INTO operator_acts (act, subject, operator, evidence)
    VALUES (CASE WHEN p_venue_order_id IS NULL THEN 'resolve not_executed' ELSE 'resolve executed' END,
            'order/' || p_order_id, p_operator, p_evidence);
    IF p_venue_order_id IS NULL THEN
        RETURN order_void(p_order_id, v_now_ms, false, format('not executed, says %s: %s', p_operator, p_evidence));
    END IF;
    RETURN order_place(p_order_id, p_venue_order_id);
END $$;

CREATE TRIGGER orders_stay BEFORE DELETE ON orders FOR EACH ROW EXECUTE FUNCTION refuse_rewriting();
CREATE TRIGGER suspended_fills_stay BEFORE DELETE ON suspended_fills FOR EACH ROW EXECUTE FUNCTION refuse_rewriting();
CREATE TRIGGER fills_stay BEFORE UPDATE OR DELETE ON fills FOR EACH ROW EXECUTE FUNCTION refuse_rewriting();
