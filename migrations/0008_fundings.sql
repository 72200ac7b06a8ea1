-- Fundings: an order of a user that waits for its payments. Only the venue's deposit record credits; each deposit that
-- is routed to the order decides once, in the commit that books it, whether it is reserved for the order or goes back.

SET LOCAL search_path = backstop, public;

INSERT INTO transitions (machine, state, event, next) VALUES
    ('funding', 'absent', 'open', 'awaiting'),
    ('funding', 'awaiting', 'complete', 'funded'),
    ('funding', 'awaiting', 'expire', 'expired'),
    ('funding', 'funded', 'release', 'released'),
    ('part', 'absent', 'reserve', 'reserved'),
    ('part', 'absent', 'refund', 'refunding'),
    ('part', 'absent', 'keep', 'kept'),
    ('part', 'reserved', 'refund', 'refunding'),
    ('part', 'reserved', 'keep', 'kept'),
    ('part', 'refunding', 'keep', 'kept');

CREATE TABLE fundings (
    order_id   text PRIMARY KEY,
    holder     text NOT NULL CHECK (holder <> ''),
    content    jsonb NOT NULL,
    input      jsonb NOT NULL,
    owner      text NOT NULL,
    venue      text NOT NULL,
    -- Where the money goes that is not kept: {asset: {network, address, tag}}.
    refund_to  jsonb NOT NULL,
    state      text NOT NULL CHECK (state IN ('awaiting', 'funded', 'released', 'expired')),
    -- Why it expired, or was released.
    reason     text,
    deadline   timestamptz NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    changed_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX fundings_awaiting ON fundings (changed_at) WHERE state = 'awaiting';

-- What an order needs of an asset (its base, its quote, a fee: summed where they are one asset), and has.
CREATE TABLE funding_needs (
    order_id text NOT NULL REFERENCES fundings,
    asset    text NOT NULL REFERENCES assets,
    needed   numeric(38, 18) NOT NULL CHECK (needed > 0),
    reserved numeric(38, 18) NOT NULL DEFAULT 0 CHECK (reserved BETWEEN 0 AND needed),
    PRIMARY KEY (order_id, asset)
);

-- Whose a deposit with this tag is, and which order it is for.
CREATE TABLE deposit_routes (
    venue    text NOT NULL,
    tag      text NOT NULL CHECK (tag <> ''),
    owner    text NOT NULL CHECK (owner <> '' AND owner NOT LIKE '~%'),
    order_id text REFERENCES fundings,
    PRIMARY KEY (venue, tag)
);

-- What was decided on a deposit: what the order took of it ('order'), and what goes back ('refund').
-- The reservation of a part bears the name of the refund that may take it.
CREATE TABLE funding_parts (
    venue          text NOT NULL,
    deposit_id     text NOT NULL,
    part           text NOT NULL CHECK (part IN ('order', 'refund')),
    order_id       text NOT NULL REFERENCES fundings,
    asset          text NOT NULL REFERENCES assets,
    amount         numeric(38, 18) NOT NULL CHECK (amount > 0),
    reservation_id text NOT NULL UNIQUE,
    state          text NOT NULL CHECK (state IN ('reserved', 'refunding', 'kept')),
    reason         text,
    changed_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (venue, deposit_id, part),
    FOREIGN KEY (venue, deposit_id) REFERENCES deposits,
    CHECK (part = 'order' OR state <> 'reserved')
);
CREATE INDEX funding_parts_of_order ON funding_parts (order_id);
CREATE INDEX funding_parts_refunding ON funding_parts (order_id) WHERE state = 'refunding';

CREATE FUNCTION funding_holder_id(p_order_id text) RETURNS text
LANGUAGE sql IMMUTABLE AS $$ SELECT 'funding/' || p_order_id $$;

-- Whether a part can be sent back: somebody said where to, it is an amount that can be paid out, and a refund of its name
-- was not ended beforehand.
CREATE FUNCTION has_way_back(f fundings, x funding_parts) RETURNS boolean
LANGUAGE sql AS $$
    SELECT f.refund_to ? x.asset
           AND scale(trim_scale(x.amount)) <= (SELECT decimals FROM assets WHERE asset = x.asset)
           AND NOT EXISTS (SELECT FROM payouts WHERE payout_id = 'refund/' || x.reservation_id);
$$;

-- Sends a part back, or leaves it with the user where that can't be. Returns which.
CREATE FUNCTION funding_part_back(f fundings, x funding_parts, p_reason text) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
    v_event text := CASE WHEN has_way_back(f, x) THEN 'refund' ELSE 'keep' END;
    v_state text := next_state('part', x.reservation_id, coalesce(x.state, 'absent'), v_event);
BEGIN
    -- It becomes the reason of a refund, which has to be short and plain.
    p_reason := trim(left(regexp_replace(p_reason, '[^ -~]+', '?', 'g'), 120));
    INSERT INTO funding_parts (venue, deposit_id, part, order_id, asset, amount, reservation_id, state, reason)
    VALUES (x.venue, x.deposit_id, x.part, x.order_id, x.asset, x.amount, x.reservation_id, v_state, p_reason)
    ON CONFLICT (venue, deposit_id, part)
    DO UPDATE SET state = excluded.state, reason = excluded.reason, changed_at = clock_timestamp();
    IF v_event = 'keep' THEN
        PERFORM find('deposit_not_refunded', 'funding/' || x.order_id, 'warning', jsonb_build_object(
            'deposit', x.reservation_id, 'asset_id', x.asset, 'amount', trim_scale(x.amount)::text, 'why', p_reason));
    END IF;
    PERFORM emit('funding/' || x.order_id, 'deposit.' || v_state, jsonb_build_object(
        'order_id', x.order_id, 'deposit', x.reservation_id, 'asset_id', x.asset,
        'amount', trim_scale(x.amount)::text, 'reason', p_reason));
    RETURN v_state;
END $$;

-- The decision on a deposit that has just been credited to the order's user.
CREATE FUNCTION funding_decide(f fundings, p_venue text, p_deposit_id text, p_asset text, p_amount numeric) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    v_need   funding_needs;
    v_take   numeric := 0;
    v_prefix text := format('deposit/%s/%s/', p_venue, p_deposit_id);
    x        funding_parts;
BEGIN
    SELECT * INTO v_need FROM funding_needs WHERE order_id = f.order_id AND asset = p_asset FOR NO KEY UPDATE;
    IF f.state = 'awaiting' AND v_need.asset IS NOT NULL THEN
        -- A venue may count finer than the asset's decimals: what is finer could not be paid back.
        v_take := trunc(least(p_amount, v_need.needed - v_need.reserved),
                        (SELECT decimals FROM assets WHERE asset = p_asset));
    END IF;
    IF v_take > 0 THEN
        PERFORM reservation_put(v_prefix || 'order', funding_holder_id(f.order_id), f.owner, p_asset, v_take);
        INSERT INTO funding_parts (venue, deposit_id, part, order_id, asset, amount, reservation_id, state)
        VALUES (p_venue, p_deposit_id, 'order', f.order_id, p_asset, v_take, v_prefix || 'order',
                next_state('part', v_prefix || 'order', 'absent', 'reserve'));
        UPDATE funding_needs SET reserved = reserved + v_take WHERE order_id = f.order_id AND asset = p_asset;
    END IF;
    IF p_amount > v_take THEN
        SELECT p_venue, p_deposit_id, 'refund', f.order_id, p_asset, p_amount - v_take, v_prefix || 'refund'
          INTO x.venue, x.deposit_id, x.part, x.order_id, x.asset, x.amount, x.reservation_id;
        IF funding_part_back(f, x, CASE WHEN f.state = 'expired' THEN 'the order had ended: ' || f.reason
                                        WHEN v_need.asset IS NULL THEN 'the order needs no ' || p_asset
                                        ELSE 'more than the order needs' END) = 'refunding' THEN
            PERFORM reservation_put(x.reservation_id, funding_holder_id(f.order_id), f.owner, p_asset, x.amount);
        END IF;
    END IF;
    IF f.state = 'awaiting'
       AND NOT EXISTS (SELECT FROM funding_needs WHERE order_id = f.order_id AND reserved < needed) THEN
        UPDATE fundings SET state = next_state('funding', f.order_id, f.state, 'complete'), changed_at = clock_timestamp()
         WHERE order_id = f.order_id;
        PERFORM emit('funding/' || f.order_id, 'order.funded', f.content);
    END IF;
END $$;

-- What the venue's deposit record says, taken down once; read again, it changes nothing. Returns whether it was new.
CREATE FUNCTION deposit_observe(
    p_venue text, p_deposit_id text, p_asset text, p_network text, p_amount numeric, p_tag text
) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = backstop, pg_temp AS $$
DECLARE
    r     deposit_routes;
    f     fundings;
    v_min numeric;
BEGIN
    IF deposit_known(p_venue, p_deposit_id, p_asset, p_amount) THEN
        RETURN false;
    END IF;
    SELECT deposit_min INTO v_min FROM networks WHERE asset = p_asset AND network = p_network;
    IF p_amount < coalesce(v_min, 0) THEN
        RETURN deposit_credit(p_venue, p_deposit_id, NULL, p_asset, p_amount, p_tag, 'deposit_below_minimum');
    END IF;
    IF p_tag <> '' THEN
        -- Held against an order that opens at this moment and asks for what is in suspense, and against another process
        -- that has seen the same deposit: after either, the deposit may have been booked, and its tag be somebody's.
        PERFORM pg_advisory_xact_lock(hashtextextended(format('deposit-tag/%s/%s', p_venue, p_tag), 0));
        IF deposit_known(p_venue, p_deposit_id, p_asset, p_amount) THEN
            RETURN false;
        END IF;
    END IF;
    SELECT * INTO r FROM deposit_routes WHERE venue = p_venue AND tag = p_tag;
    SELECT * INTO f FROM fundings WHERE order_id = r.order_id FOR NO KEY UPDATE;
    IF NOT deposit_credit(p_venue, p_deposit_id, r.owner, p_asset, p_amount, p_tag) THEN
        RETURN false;
    END IF;
    IF f.order_id IS NOT NULL THEN
        PERFORM funding_decide(f, p_venue, p_deposit_id, p_asset, p_amount);
    END IF;
    RETURN true;
END $$;

-- The order as it is: what it needs and has, and the refunds that belong to it.
CREATE FUNCTION funding_status(p_order_id text) RETURNS jsonb
LANGUAGE sql STABLE AS $$
    SELECT jsonb_build_object(
        'order_id', f.order_id, 'state', f.state, 'user_id', f.owner, 'venue', f.venue, 'reason', f.reason,
        'remaining_ms', greatest(0, ceil(extract(epoch FROM f.deadline - clock_timestamp()) * 1000))::bigint,
        'needs', (SELECT jsonb_agg(jsonb_build_object('asset_id', n.asset, 'needed', trim_scale(n.needed)::text,
                                       'reserved', trim_scale(n.reserved)::text) ORDER BY n.asset)
                    FROM funding_needs AS n WHERE n.order_id = f.order_id),
        'refunds', (SELECT coalesce(jsonb_agg(jsonb_build_object(
                               'refund_id', x.reservation_id, 'state', coalesce(p.state, 'to be started'),
                               'input', jsonb_build_object('refund_id', x.reservation_id, 'user_id', f.owner,
                                   'asset_id', x.asset, 'amount', trim_scale(x.amount)::text,
                                   'destination', f.refund_to -> x.asset, 'reason', x.reason))
                           ORDER BY x.reservation_id), '[]')
                      FROM funding_parts AS x
                      LEFT JOIN payouts AS p ON p.payout_id = 'refund/' || x.reservation_id
                     WHERE x.order_id = f.order_id AND x.state = 'refunding'))
      FROM fundings AS f WHERE f.order_id = p_order_id;
$$;

-- open: the order waits for its payments. `p_needs` is [{field, asset, amount}]. What came in before is taken up.
CREATE FUNCTION funding_open(
    p_order_id text, p_holder text, p_content jsonb, p_input jsonb, p_owner text, p_venue text, p_tag text,
    p_needs jsonb, p_refund_to jsonb, p_timeout_seconds int
) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = backstop, pg_temp AS $$
DECLARE
    f    fundings;
    need record;
    d    record;
BEGIN
    SELECT * INTO f FROM fundings WHERE order_id = p_order_id FOR NO KEY UPDATE;
    IF f.order_id IS NULL THEN
        FOR need IN SELECT * FROM jsonb_to_recordset(p_needs) AS x (field text, asset text, amount numeric) LOOP
            PERFORM refuse_bad_amount(need.asset, need.amount, need.field || '_');
        END LOOP;
        FOR d IN SELECT * FROM jsonb_each(p_refund_to) LOOP
            PERFORM refuse_bad_destination(d.key, d.value ->> 'network', d.value ->> 'address', d.value ->> 'tag',
                                           'refund_destination.' || d.key);
        END LOOP;
        IF NOT EXISTS (SELECT FROM networks WHERE venue = p_venue) THEN
            PERFORM refuse_input('venue', 'one of the known venues: '
                || (SELECT coalesce(string_agg(DISTINCT venue, ', '), '(none)') FROM networks));
        END IF;
        PERFORM pg_advisory_xact_lock(hashtextextended(format('deposit-tag/%s/%s', p_venue, p_tag), 0));
        INSERT INTO fundings (order_id, holder, content, input, owner, venue, refund_to, state, deadline)
        VALUES (p_order_id, p_holder, p_content, p_input, p_owner, p_venue, p_refund_to,
                next_state('funding', p_order_id, 'absent', 'open'),
                clock_timestamp() + p_timeout_seconds * interval '1 s')
        ON CONFLICT DO NOTHING RETURNING * INTO f;
        IF f.order_id IS NOT NULL THEN
            PERFORM funding_begin(f, p_tag, p_needs);
            RETURN funding_status(p_order_id);
        END IF;
        SELECT * INTO STRICT f FROM fundings WHERE order_id = p_order_id FOR NO KEY UPDATE;
    END IF;
    PERFORM refuse_other_content(funding_holder_id(p_order_id), f.content, p_content);
    IF f.holder <> p_holder AND f.state = 'awaiting' THEN
        PERFORM refuse('BS005', format('order %s is held by workflow %s', p_order_id, f.holder),
                       jsonb_build_object('subject', p_order_id, 'holder', f.holder));
    END IF;
    RETURN funding_status(p_order_id);
END $$;

-- Writes down what a new order needs and its tag, and takes up what waits in suspense under that tag.
CREATE FUNCTION funding_begin(f fundings, p_tag text, p_needs jsonb) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    v_other text;
    d       record;
BEGIN
    INSERT INTO funding_needs (order_id, asset, needed)
    SELECT f.order_id, asset, sum(amount)
      FROM jsonb_to_recordset(p_needs) AS x (field text, asset text, amount numeric) GROUP BY asset;
    INSERT INTO deposit_routes (venue, tag, owner, order_id) VALUES (f.venue, p_tag, f.owner, f.order_id)
    ON CONFLICT DO NOTHING;
    IF NOT FOUND THEN
        SELECT coalesce('order ' || order_id, 'user ' || owner) INTO v_other
          FROM deposit_routes WHERE venue = f.venue AND tag = p_tag;
        PERFORM refuse('BS004', format('deposit tag %s of %s belongs to %s', p_tag, f.venue, v_other),
                       jsonb_build_object('field', 'deposit_tag', 'belongs_to', v_other));
    END IF;
    PERFORM emit('funding/' || f.order_id, 'order.awaiting_payment', f.content);
    PERFORM lock_suspended(f.venue, p_tag, f.owner);
    FOR d IN SELECT x.deposit_id, a.asset, x.amount
               FROM deposits AS x JOIN accounts AS a ON a.id = x.account
              WHERE x.venue = f.venue AND x.tag = p_tag AND x.state = 'suspended'
                -- What the venue does not count can't pay.
                AND x.suspended_for <> 'deposit_below_minimum'
              ORDER BY x.at, x.deposit_id LOOP
        IF deposit_claim(f.venue, d.deposit_id, f.owner) THEN
            SELECT * INTO f FROM fundings WHERE order_id = f.order_id;
            PERFORM funding_decide(f, f.venue, d.deposit_id, d.asset, d.amount);
        END IF;
    END LOOP;
END $$;

-- expire: the time is over, or somebody called it off. What was reserved goes back; what comes later goes back, too.
CREATE FUNCTION funding_expire(p_order_id text, p_holder text, p_reason text) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = backstop, pg_temp AS $$
DECLARE
    f fundings;
    x funding_parts;
BEGIN
    SELECT * INTO f FROM fundings WHERE order_id = p_order_id FOR NO KEY UPDATE;
    IF f.order_id IS NULL THEN
        PERFORM refuse('BS008', format('there is no order %s', p_order_id), jsonb_build_object('subject', p_order_id));
    END IF;
    IF f.holder <> p_holder AND f.state = 'awaiting' THEN
        PERFORM refuse('BS005', format('order %s is held by workflow %s', p_order_id, f.holder),
                       jsonb_build_object('subject', p_order_id, 'holder', f.holder));
    END IF;
    IF f.state <> 'awaiting' THEN
        RETURN funding_status(p_order_id);
    END IF;
    UPDATE fundings
       SET state = next_state('funding', p_order_id, f.state, 'expire'), reason = p_reason, changed_at = clock_timestamp()
     WHERE order_id = p_order_id RETURNING * INTO f;
    -- Those that stay with the user are released on the way: their accounts are taken in the order of their ids, too.
    FOR x IN SELECT p.* FROM funding_parts AS p JOIN reservations AS r USING (reservation_id)
              WHERE p.order_id = p_order_id AND p.state = 'reserved' ORDER BY r.account, p.reservation_id
                FOR NO KEY UPDATE OF p LOOP
        IF funding_part_back(f, x, 'the order was not funded: ' || p_reason) = 'kept' THEN
            PERFORM reservation_give_back(x.reservation_id);
        END IF;
    END LOOP;
    PERFORM emit('funding/' || p_order_id, 'order.expired', f.content || jsonb_build_object('reason', p_reason));
    RETURN funding_status(p_order_id);
END $$;

-- What a deposit has set aside pays for its refund, and for nothing else: released in the commit that debits it.
CREATE FUNCTION release_for_refund(p_payout_id text, p_content jsonb) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    x funding_parts;
    f fundings;
    v jsonb;
BEGIN
    SELECT * INTO x FROM funding_parts
     WHERE reservation_id = regexp_replace(p_payout_id, '^refund/', '') FOR NO KEY UPDATE;
    IF x.reservation_id IS NULL THEN
        RETURN;
    END IF;
    IF x.state <> 'refunding' THEN
        PERFORM refuse('BS009', format('%s is %s for order %s', x.reservation_id, x.state, x.order_id),
                       jsonb_build_object('subject', x.reservation_id, 'state', x.state, 'event', 'refund'));
    END IF;
    SELECT * INTO STRICT f FROM fundings WHERE order_id = x.order_id;
    v := f.refund_to -> x.asset;
    PERFORM refuse_other_content(p_payout_id, jsonb_build_object(
        'user_id', f.owner, 'asset_id', x.asset, 'amount', trim_scale(x.amount)::text,
        'destination.network', v -> 'network', 'destination.address', v -> 'address', 'destination.tag', v -> 'tag',
        'reason', x.reason), p_content);
    PERFORM reservation_give_back(x.reservation_id);
END $$;

-- Leaves a part with the user that was to go back. The caller has locked it, and its order before, whose event this is.
CREATE FUNCTION funding_part_keep(x funding_parts, p_reason text) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    UPDATE funding_parts
       SET state = next_state('part', x.reservation_id, x.state, 'keep'), changed_at = clock_timestamp()
     WHERE reservation_id = x.reservation_id;
    PERFORM reservation_give_back(x.reservation_id);
    PERFORM find('deposit_not_refunded', 'funding/' || x.order_id, 'warning', jsonb_build_object(
        'deposit', x.reservation_id, 'asset_id', x.asset, 'amount', trim_scale(x.amount)::text, 'why', p_reason));
    PERFORM emit('funding/' || x.order_id, 'deposit.kept', jsonb_build_object(
        'order_id', x.order_id, 'deposit', x.reservation_id, 'asset_id', x.asset,
        'amount', trim_scale(x.amount)::text, 'reason', p_reason));
END $$;

-- A refund that was ended before it was sent leaves its deposit with the user. (One that is ended before the deposit is to
-- go back has none to leave yet: see has_way_back. The lock on the part decides which of the two it is.)
CREATE FUNCTION keep_refused_refund(p payouts) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    v_part text := regexp_replace(p.payout_id, '^refund/', '');
    x      funding_parts;
BEGIN
    PERFORM FROM fundings WHERE order_id = (SELECT order_id FROM funding_parts WHERE reservation_id = v_part) FOR NO KEY UPDATE;
    SELECT * INTO x FROM funding_parts WHERE reservation_id = v_part FOR NO KEY UPDATE;
    IF x.state = 'refunding' THEN
        PERFORM funding_part_keep(x, p.reason);
    END IF;
END $$;

-- A refund whose input was refused leaves no payout behind, not even a tombstone: its deposit stays with the user all the
-- same, and a late opening finds it kept. Does nothing where there is a payout, or comes to be one: that one answers for
-- the part, whose lock decides which of the two is first. Returns whether it did anything.
CREATE FUNCTION funding_keep_refused(p_order_id text, p_refund_id text, p_reason text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = backstop, pg_temp AS $$
DECLARE
    x funding_parts;
BEGIN
    PERFORM FROM fundings WHERE order_id = p_order_id FOR NO KEY UPDATE;
    SELECT * INTO x FROM funding_parts
     WHERE order_id = p_order_id AND reservation_id = p_refund_id FOR NO KEY UPDATE;
    IF x.state IS DISTINCT FROM 'refunding'
       OR EXISTS (SELECT FROM payouts WHERE payout_id = 'refund/' || p_refund_id) THEN
        RETURN false;
    END IF;
    PERFORM funding_part_keep(x, p_reason);
    RETURN true;
END $$;

CREATE TRIGGER fundings_stay BEFORE DELETE ON fundings FOR EACH ROW EXECUTE FUNCTION refuse_rewriting();
CREATE TRIGGER funding_needs_stay BEFORE DELETE ON funding_needs FOR EACH ROW EXECUTE FUNCTION refuse_rewriting();
CREATE TRIGGER funding_parts_stay BEFORE DELETE ON funding_parts FOR EACH ROW EXECUTE FUNCTION refuse_rewriting();
CREATE TRIGGER deposit_routes_stay BEFORE UPDATE OR DELETE ON deposit_routes
    FOR EACH ROW EXECUTE FUNCTION refuse_rewriting();
