-- Fills: what the venue traded of an order, booked once by its trade id, whatever the books expected. A trade whose order
-- they don't know is nobody's, and suspended.

SET LOCAL search_path = backstop, public;

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

CREATE TRIGGER suspended_fills_stay BEFORE DELETE ON suspended_fills FOR EACH ROW EXECUTE FUNCTION refuse_rewriting();
CREATE TRIGGER fills_stay BEFORE UPDATE OR DELETE ON fills FOR EACH ROW EXECUTE FUNCTION refuse_rewriting();
