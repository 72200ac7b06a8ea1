-- Reconciliation against the venues: what a venue's own records say, held against the books. Each comparison is one statement over
-- the records that were read just before; who calls it looks twice, and believes what both looks say of a row that did not move.

SET LOCAL search_path = backstop, public;

CREATE INDEX orders_venue_id ON orders (venue, venue_order_id);
CREATE INDEX orders_venue_open ON orders (venue) WHERE state IN ('attempted', 'placed');
CREATE INDEX orders_venue_ended ON orders (venue, changed_at) WHERE state = 'ended';
CREATE INDEX orders_venue_signed ON orders (venue, signed_at);
CREATE INDEX deposits_at ON deposits (venue, at);

-- The house's own stock at a venue, as an operator has declared it. What fees in third assets and suspended trades have cost it
-- since stands against the counters `house:<venue>`.
CREATE TABLE house_positions (
    venue  text NOT NULL CHECK (venue ~ '^[a-z0-9_-]{1,32}$'),
    asset  text NOT NULL REFERENCES assets,
    amount numeric(38, 18) NOT NULL,
    PRIMARY KEY (venue, asset)
);

-- Says what is the house's own of an asset there. Returns whether that changes anything.
CREATE FUNCTION house_position_set(p_venue text, p_asset text, p_amount numeric, p_operator text, p_evidence text)
RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = backstop, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM assets WHERE asset = p_asset) THEN
        PERFORM refuse_input('asset_id', 'a known asset');
    END IF;
    PERFORM refuse_unknown_venue(p_venue);
    PERFORM refuse_unsigned(p_operator, p_evidence);
    INSERT INTO house_positions AS h (venue, asset, amount) VALUES (p_venue, p_asset, p_amount)
    ON CONFLICT (venue, asset) DO UPDATE SET amount = excluded.amount WHERE h.amount <> excluded.amount;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    INSERT INTO operator_acts (act, subject, operator, evidence)
    VALUES ('declare house position', format('%s/%s %s', p_venue, p_asset, trim_scale(p_amount)), p_operator, p_evidence);
    RETURN true;
END $$;

CREATE FUNCTION at_ms(p_at timestamptz) RETURNS bigint
LANGUAGE sql IMMUTABLE AS $$ SELECT floor(extract(epoch FROM p_at) * 1000)::bigint $$;

-- The venue's withdrawals against the payouts. An account is frozen, unless it is the payout's own workflow that can clear it.
CREATE FUNCTION check_withdrawals(p_venue text, p_records jsonb, p_looked_at_ms bigint) RETURNS SETOF deviation
LANGUAGE sql STABLE AS $$
    WITH records AS MATERIALIZED (
        SELECT r.*, r.received + r.network_fee AS amount
          FROM jsonb_to_recordset(p_records) AS r (id text, client_id text, state text, received numeric, network_fee numeric,
                                                   completed_at text)
         -- The form of the client ids that payouts carry. Others may use the same account.
         WHERE r.client_id ~ '^[0-9a-f]{32}$'
    ), paying AS (
        SELECT r.*, p.payout_id, p.owner, p.asset, p.state AS stands, p.version,
               p.amount AS wanted, p.network_fee AS wanted_fee, p.venue_reference,
               count(*) OVER (PARTITION BY r.client_id) AS times
          FROM records AS r LEFT JOIN payouts AS p USING (client_id)
         WHERE r.state <> 'failed'
    ), judged AS (
        SELECT r.*, CASE
            WHEN payout_id IS NULL THEN 'withdrawal_without_payout'
            -- Every send is recorded before it is made: the books have lost this one. Its workflow finds it before it sends.
            WHEN stands IN ('awaiting_approval', 'queued', 'opened') THEN 'withdrawal_without_attempt'
            WHEN stands IN ('returned', 'abandoned', 'rejected', 'expired')
                 THEN CASE state WHEN 'completed' THEN 'payout_paid_after_return' ELSE 'payout_on_its_way_after_end' END
            WHEN stands = 'settled' AND id <> venue_reference
                 THEN CASE state WHEN 'completed' THEN 'payout_paid_twice' ELSE 'payout_on_its_way_after_end' END
            WHEN times > 1 AND id IS DISTINCT FROM venue_reference THEN 'payout_paid_twice'
            WHEN amount <> wanted OR network_fee <> wanted_fee THEN 'payout_amount_differs'
            WHEN stands IN ('attempted', 'needs_operator') AND at_ms((completed_at || ' UTC')::timestamptz) < p_looked_at_ms - 900000
                 THEN 'payout_not_settled'
        END AS kind
          FROM paying AS r
    )
    SELECT DISTINCT ON (kind, payout_id, coalesce(payout_id, id))
           kind, coalesce(payout_id, p_venue || '/' || id), CASE kind WHEN 'payout_not_settled' THEN 'warning' ELSE 'critical' END,
           id, CASE WHEN kind NOT IN ('withdrawal_without_attempt', 'payout_not_settled') THEN owner END, asset,
           jsonb_build_object('venue', p_venue, 'venue_reference', id, 'client_id', client_id, 'record', state,
               'received', received::text, 'network_fee', network_fee::text, 'state', stands, 'version', version,
               'amount', trim_scale(wanted)::text, 'settled_by', venue_reference)
      FROM judged WHERE kind IS NOT NULL
     ORDER BY kind, payout_id, coalesce(payout_id, id), id;
$$;

-- The payouts that the books have settled against the venue's withdrawals since `p_from_ms`, of which the reading began at
-- `p_looked_at_ms` by this clock: those that failed there, or are not there at all.
CREATE FUNCTION check_settled(
    p_venue text, p_records jsonb, p_from_ms bigint, p_looked_at_ms bigint, p_visibility_ms int
) RETURNS SETOF deviation
LANGUAGE sql STABLE AS $$
    WITH records AS MATERIALIZED (
        SELECT client_id, bool_or(state <> 'failed') AS pays, string_agg(id, ' ' ORDER BY id) AS ids
          FROM jsonb_to_recordset(p_records) AS r (id text, client_id text, state text)
         WHERE client_id IS NOT NULL GROUP BY client_id
    )
    SELECT 'payout_settled_unpaid', p.payout_id, 'critical', CASE WHEN r.client_id IS NULL THEN 'absent' ELSE 'failed' END,
           p.owner, p.asset,
           jsonb_build_object('venue', p_venue, 'client_id', p.client_id, 'settled_by', p.venue_reference, 'failed', r.ids,
               'amount', trim_scale(p.amount)::text, 'state', p.state, 'version', p.version)
      FROM payouts AS p LEFT JOIN records AS r USING (client_id)
     WHERE p.venue = p_venue AND p.state = 'settled' AND r.pays IS NOT TRUE
       AND p.changed_at > 'epoch'::timestamptz + p_from_ms * interval '1 ms'
       AND at_ms(p.changed_at) < p_looked_at_ms - p_visibility_ms
       -- All that was ever sent of it is in what was read.
       AND (SELECT at_ms(min(signed_at)) FROM payout_attempts AS a WHERE a.payout_id = p.payout_id) > p_from_ms + 60000
       -- What the venue does not show, an operator has answered for.
       AND (r.client_id IS NOT NULL
            OR NOT EXISTS (SELECT FROM operator_acts WHERE act = 'resolve executed' AND subject = p.payout_id));
$$;

-- Deposits against the venue's, those since `p_since_ms` that the venue counts as final; null: nobody reads them here.
CREATE FUNCTION check_deposits(
    p_venue text, p_records jsonb, p_unreadable text[], p_from_ms bigint, p_since_ms bigint, p_looked_at_ms bigint
) RETURNS SETOF deviation
LANGUAGE sql STABLE AS $$
    WITH records AS MATERIALIZED (
        SELECT r.* FROM jsonb_to_recordset(p_records) AS r (id text, asset text, amount numeric, state text, inserted_at_ms bigint)
    )
    SELECT 'deposit_missing', s.subject, 'critical', r.amount::text, NULL, NULL,
           jsonb_build_object('venue', p_venue, 'asset_id', r.asset, 'amount', r.amount::text)
      FROM records AS r, LATERAL (SELECT format('deposit/%s/%s', p_venue, r.id) AS subject) AS s
     WHERE r.state = 'final' AND r.inserted_at_ms >= greatest(p_since_ms, p_from_ms) AND p_since_ms IS NOT NULL
       AND NOT EXISTS (SELECT FROM deposits WHERE venue = p_venue AND deposit_id = r.id)
       -- The reader has said so already.
       AND NOT EXISTS (SELECT FROM findings AS f
                        WHERE f.kind = 'deposit_not_bookable' AND f.subject = s.subject AND f.state = 'open')
    UNION ALL
    SELECT CASE WHEN x.gone IS NULL THEN 'deposit_differs' ELSE 'deposit_without_record' END,
           format('deposit/%s/%s', p_venue, d.deposit_id), 'critical', coalesce(x.gone, r.amount::text || ' ' || r.asset),
           CASE WHEN a.owner NOT LIKE '~%' THEN a.owner END, a.asset,
           jsonb_build_object('venue', p_venue, 'booked', trim_scale(d.amount)::text || ' ' || a.asset, 'state', d.state,
               'record', r.amount::text || ' ' || r.asset, 'record_state', r.state)
      FROM deposits AS d JOIN accounts AS a ON a.id = coalesce(d.claimed_by, d.account)
      LEFT JOIN records AS r ON r.id = d.deposit_id,
           LATERAL (SELECT CASE WHEN r.id IS NULL THEN 'absent' WHEN r.state IN ('pending', 'rejected') THEN r.state END AS gone) AS x
     WHERE d.venue = p_venue AND d.at > 'epoch'::timestamptz + p_from_ms * interval '1 ms' AND at_ms(d.at) < p_looked_at_ms
       AND d.deposit_id <> ALL (p_unreadable)
       AND (x.gone IS NOT NULL OR r.amount <> d.amount OR r.asset <> a.asset);
$$;

-- The orders of a market that may be open at the venue.
CREATE FUNCTION orders_to_compare(p_venue text, p_symbol text) RETURNS TABLE (order_id text, state text, venue_order_id text)
LANGUAGE sql STABLE AS $$
    SELECT order_id, state, venue_order_id FROM orders
     WHERE venue = p_venue AND base || quote = p_symbol AND state IN ('attempted', 'placed');
$$;

-- Orders of the venue under ids like ours that the books don't know, or know not to be open, or not to have traded. One that
-- came to nothing is nobody's business. One that was cancelled may bear another id, and is known by the venue's. Of one that is about
-- to be sent here, and is there, the books have lost the attempt: whoever is about to send it looks first, and must not be frozen.
CREATE FUNCTION check_strange_orders(p_venue text, p_symbol text, p_orders jsonb) RETURNS SETOF deviation
LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN o.order_id IS NULL THEN 'order_without_record'
                WHEN o.state = 'opened' THEN 'order_without_attempt'
                WHEN r.open THEN 'order_open_at_venue' ELSE 'order_executed_differs' END,
           'order/' || r.client_id, 'critical', coalesce(o.state, ''), CASE o.state WHEN 'opened' THEN NULL ELSE o.owner END,
           CASE o.side WHEN 'sell' THEN o.base ELSE o.quote END,
           jsonb_build_object('venue', p_venue, 'symbol', p_symbol, 'client_id', r.client_id, 'venue_order_id', r.id,
               'executed', r.executed::text, 'state', o.state, 'version', o.version)
      FROM jsonb_to_recordset(p_orders) AS r (id text, client_id text, open boolean, executed numeric)
      LEFT JOIN orders AS o ON o.order_id = r.client_id
     WHERE (r.open OR r.executed > (SELECT coalesce(sum(f.base), 0) FROM fills AS f WHERE f.order_id = r.client_id))
       AND r.client_id ~ '^[0-9a-f]{32}$'
       AND CASE WHEN o.order_id IS NULL
                THEN NOT EXISTS (SELECT FROM orders AS k WHERE k.venue = p_venue AND k.base || k.quote = p_symbol
                                    AND k.venue_order_id = r.id)
                ELSE o.state IN ('opened', 'void', 'abandoned') OR o.state = 'ended' AND r.open END;
$$;

-- The orders of a market against the venue's records: those that are open here, and those that ended since `p_from_ms`.
-- `p_absent` were asked for by their ids, and are not there.
CREATE FUNCTION check_orders(
    p_venue text, p_symbol text, p_orders jsonb, p_absent text[], p_from_ms bigint, p_looked_at_ms bigint, p_visibility_ms int
) RETURNS SETOF deviation
LANGUAGE sql STABLE AS $$
    WITH records AS MATERIALIZED (
        SELECT r.* FROM jsonb_to_recordset(p_orders)
            AS r (id text, open boolean, executed numeric, updated_at_ms bigint)
    ), judged AS (
        SELECT o.*, f.booked, r.open, r.executed AS traded, CASE
            WHEN o.state = 'placed' AND o.venue_order_id = ANY (p_absent)
                 AND at_ms(o.changed_at) < p_looked_at_ms - p_visibility_ms THEN 'order_not_at_venue'
            -- Whoever follows it looks again and again, and waits for its trades to show; but not for ever.
            WHEN o.state = 'placed' AND NOT r.open AND r.updated_at_ms < p_looked_at_ms - 300000
                 THEN CASE WHEN r.executed = f.booked THEN 'order_ended_at_venue' ELSE 'order_trades_missing' END
            WHEN o.state = 'ended' AND r.executed <> o.executed THEN 'order_executed_differs'
        END AS kind
          FROM orders AS o
          LEFT JOIN records AS r ON r.id = o.venue_order_id,
               LATERAL (SELECT coalesce(sum(base), 0) AS booked FROM fills WHERE fills.order_id = o.order_id) AS f
         WHERE o.venue = p_venue AND o.base || o.quote = p_symbol
           AND (o.state = 'placed'
                OR o.state = 'ended' AND o.changed_at > 'epoch'::timestamptz + p_from_ms * interval '1 ms')
    )
    SELECT kind, 'order/' || order_id,
           CASE WHEN kind IN ('order_ended_at_venue', 'order_trades_missing') THEN 'warning' ELSE 'critical' END, traded::text, owner,
           CASE WHEN kind = 'order_executed_differs' THEN base || '/' || quote WHEN side = 'sell' THEN base ELSE quote END,
           jsonb_build_object('venue', p_venue, 'symbol', p_symbol, 'venue_order_id', venue_order_id, 'state', state,
               'version', version, 'booked', trim_scale(booked)::text, 'ended_with', trim_scale(executed)::text,
               'executed', traded::text)
      FROM judged WHERE kind IS NOT NULL
    UNION ALL
    SELECT * FROM check_strange_orders(p_venue, p_symbol, p_orders);
$$;

-- The trades of a market since `p_from_ms` against the fills, in both directions. What was booked and not traded may be in
-- either asset: in what the order gave, or in what it got.
CREATE FUNCTION check_fills(p_venue text, p_symbol text, p_trades jsonb, p_from_ms bigint, p_looked_at_ms bigint)
RETURNS SETOF deviation
LANGUAGE sql STABLE AS $$
    WITH trades AS MATERIALIZED (
        SELECT t.*, p_symbol || ':' || t.id AS trade_id
          FROM jsonb_to_recordset(p_trades) AS t (id text, order_id text, base numeric, quote numeric, fee numeric,
                                                  fee_asset text, at_ms bigint)
    )
    SELECT CASE WHEN f.trade_id IS NULL THEN 'fill_missing' ELSE 'fill_differs' END,
           format('fill/%s/%s', o.order_id, t.trade_id),
           CASE WHEN f.trade_id IS NULL AND o.state IN ('attempted', 'placed') THEN 'warning' ELSE 'critical' END, '', o.owner,
           CASE WHEN f.trade_id IS NOT NULL THEN o.base || '/' || o.quote WHEN o.side = 'sell' THEN o.base ELSE o.quote END,
           jsonb_build_object('venue', p_venue, 'symbol', p_symbol, 'client_id', o.order_id, 'venue_order_id', t.order_id,
               'booked', to_jsonb(f), 'record', to_jsonb(t), 'state', o.state, 'version', o.version)
      FROM trades AS t
      JOIN orders AS o ON o.venue = p_venue AND o.venue_order_id = t.order_id AND o.base || o.quote = p_symbol
      LEFT JOIN fills AS f ON f.order_id = o.order_id AND f.trade_id = t.trade_id
     WHERE CASE WHEN f.trade_id IS NULL
                -- Of an order that is open here, it is on its way; but not for ever.
                THEN o.state NOT IN ('attempted', 'placed') OR t.at_ms < p_looked_at_ms - 300000
                ELSE (f.base, f.quote, f.fee, f.fee_asset) IS DISTINCT FROM (t.base, t.quote, t.fee, t.fee_asset) END
    UNION ALL
    SELECT 'fill_without_trade', format('fill/%s/%s', o.order_id, f.trade_id), 'critical', '', o.owner, o.base || '/' || o.quote,
           jsonb_build_object('venue', p_venue, 'booked', to_jsonb(f), 'state', o.state, 'version', o.version)
      FROM orders AS o JOIN fills AS f USING (order_id)
     WHERE o.venue = p_venue AND o.base || o.quote = p_symbol
       -- Then all of its trades are among those that were read.
       AND o.signed_at > 'epoch'::timestamptz + (p_from_ms + 60000) * interval '1 ms' AND at_ms(f.at) < p_looked_at_ms
       AND NOT EXISTS (SELECT FROM trades AS t WHERE t.trade_id = f.trade_id AND t.order_id = o.venue_order_id);
$$;

-- What is owed of each asset, to users, suspense and the house's accounts, at rest or in transit; what is the house's own; and a
-- stamp that changes with whatever moves it, or may move what the venue holds for it.
CREATE FUNCTION custody_books() RETURNS TABLE (asset text, owed numeric, house numeric, stamp text)
LANGUAGE sql STABLE AS $$
    SELECT x.asset, coalesce(a.sum, 0) + coalesce(p.sum, 0), coalesce(h.sum, 0) + coalesce(c.sum, 0),
           concat_ws(' ', a.versions, md5(p.stamps), md5(o.stamps))
      FROM assets AS x,
           LATERAL (SELECT sum(available + locked), sum(version) AS versions FROM accounts WHERE accounts.asset = x.asset) AS a,
           LATERAL (SELECT sum(in_transit), string_agg(payout_id || ' ' || version, ' ' ORDER BY payout_id) AS stamps FROM payouts
                     WHERE payouts.asset = x.asset AND state IN ('opened', 'attempted', 'needs_operator')) AS p,
           LATERAL (SELECT sum(amount) FROM house_positions AS y WHERE y.asset = x.asset) AS h,
           -- What was summed up when it was sealed, and what is newer.
           LATERAL (SELECT (SELECT coalesce(sum(s.amount), 0) FROM house_sums AS s JOIN accounts AS y ON y.id = s.account
                             WHERE y.asset = x.asset)
                           + (SELECT coalesce(sum(e.d_counter), 0) FROM entries AS e JOIN accounts AS y ON y.id = e.account
                                LEFT JOIN house_sums AS s ON s.account = e.account
                               WHERE e.counter LIKE 'house:%' AND e.xid >= (SELECT seal_cursor()) AND e.version > coalesce(s.version, 0)
                                 AND y.asset = x.asset)) AS c (sum),
           LATERAL (SELECT string_agg(order_id || ' ' || version, ' ' ORDER BY order_id) AS stamps FROM orders
                     WHERE x.asset IN (base, quote) AND state IN ('opened', 'attempted', 'placed')) AS o;
$$;

-- The orders that may trade at a venue, with what is booked of them.
CREATE FUNCTION custody_orders(p_venue text)
RETURNS TABLE (order_id text, symbol text, venue_order_id text, booked text)
LANGUAGE sql STABLE AS $$
    SELECT order_id, base || quote, venue_order_id,
           (SELECT coalesce(sum(f.base), 0)::text FROM fills AS f WHERE f.order_id = o.order_id)
      FROM orders AS o WHERE venue = p_venue AND state IN ('opened', 'attempted', 'placed') ORDER BY order_id;
$$;

-- What of a venue's balances the books are about to book: payouts in transit that it has deducted, deposits that it has
-- credited, trades of open orders. And for which assets nobody can tell now, because it may hide something yet.
CREATE FUNCTION custody_explained(
    p_venue text, p_withdrawals jsonb, p_deposits jsonb, p_orders jsonb, p_trades jsonb, p_looked_at_ms bigint
) RETURNS TABLE (asset text, explained numeric, unclear text)
LANGUAGE sql STABLE AS $$
    WITH transit AS (
        SELECT p.payout_id, p.asset, p.amount,
               EXISTS (SELECT FROM jsonb_to_recordset(p_withdrawals) AS w (client_id text, state text)
                        WHERE w.client_id = p.client_id AND w.state <> 'failed') AS shown
          FROM payouts AS p WHERE p.venue = p_venue AND p.state IN ('opened', 'attempted', 'needs_operator')
    ), live AS (
        SELECT o.*, r.executed AS traded FROM orders AS o
          LEFT JOIN jsonb_to_recordset(p_orders) AS r (client_id text, executed numeric) ON r.client_id = o.order_id
         WHERE o.venue = p_venue AND o.state IN ('opened', 'attempted', 'placed')
    ), trades AS (
        SELECT o.side, o.base AS base_asset, o.quote AS quote_asset, t.*, o.order_id AS of_order,
               EXISTS (SELECT FROM fills AS f
                        WHERE f.order_id = o.order_id AND f.trade_id = o.base || o.quote || ':' || t.id)
               -- Or suspended, until its order takes it back.
               OR EXISTS (SELECT FROM suspended_fills AS f
                           WHERE f.venue = p_venue AND f.venue_order_id = t.order_id
                             AND f.trade_id = o.base || o.quote || ':' || t.id AND f.order_id IS NULL) AS booked
          FROM jsonb_to_recordset(p_trades) AS t (client_id text, id text, order_id text, base numeric, quote numeric, fee numeric, fee_asset text)
          JOIN live AS o ON o.order_id = t.client_id
    ), changes AS (
        SELECT asset, -amount AS amount FROM transit WHERE shown
        UNION ALL
        SELECT d.asset, d.amount FROM jsonb_to_recordset(p_deposits) AS d (id text, asset text, amount numeric, state text)
         WHERE d.state IN ('final', 'locked')
           AND NOT EXISTS (SELECT FROM deposits AS x WHERE x.venue = p_venue AND x.deposit_id = d.id)
        UNION ALL
        SELECT leg.asset, leg.amount FROM trades AS t,
               LATERAL (VALUES (t.base_asset, CASE t.side WHEN 'buy' THEN t.base ELSE -t.base END),
                               (t.quote_asset, CASE t.side WHEN 'buy' THEN -t.quote ELSE t.quote END),
                               (t.fee_asset, -t.fee)) AS leg (asset, amount)
         WHERE NOT t.booked
    ), hidden AS (
        SELECT o.base, o.quote, o.order_id FROM live AS o
         WHERE o.traded > (SELECT coalesce(sum(t.base), 0) FROM trades AS t WHERE t.of_order = o.order_id)
                          + (SELECT coalesce(sum(f.base), 0) FROM fills AS f
                              WHERE f.order_id = o.order_id
                                AND NOT EXISTS (SELECT FROM trades AS t WHERE t.of_order = o.order_id
                                                   AND f.trade_id = o.base || o.quote || ':' || t.id))
            OR o.traded IS NULL AND o.state = 'attempted' AND at_ms(o.void_after) >= p_looked_at_ms
    ), doubts AS (
        SELECT t.asset, format('payout %s may have been sent', t.payout_id) AS why FROM transit AS t
         WHERE NOT t.shown
           AND EXISTS (SELECT FROM payout_attempts AS a
                        WHERE a.payout_id = t.payout_id AND attempt_live(a.outcome)
                          AND (a.outcome = 'accepted' OR at_ms(a.void_after) >= p_looked_at_ms))
        UNION ALL
        -- A fee may be taken out of what the house holds.
        SELECT x.asset, format('order/%s has trades that do not show yet', h.order_id) FROM hidden AS h,
               LATERAL (SELECT h.base AS asset UNION SELECT h.quote
                        UNION SELECT y.asset FROM house_positions AS y WHERE y.venue = p_venue) AS x
    )
    SELECT x.asset, coalesce((SELECT sum(amount) FROM changes AS c WHERE c.asset = x.asset), 0),
           (SELECT min(why) FROM doubts AS d WHERE d.asset = x.asset)
      FROM assets AS x;
$$;

-- Holds what all venues hold against the books, which were read before at `p_before`, and are read again now.
CREATE FUNCTION custody_compared(p_before jsonb, p_holdings jsonb)
RETURNS TABLE (asset text, state text, note text, held text, owed text, house text, explained text, rest text)
LANGUAGE sql STABLE AS $$
    WITH holdings AS (
        SELECT h.asset, sum(h.held) AS held, sum(h.explained) AS explained, min(h.unclear) AS unclear
          FROM jsonb_to_recordset(p_holdings) AS h (asset text, held numeric, explained numeric, unclear text)
         GROUP BY h.asset
    )
    SELECT n.asset,
           CASE WHEN (n.owed, n.house, n.stamp) IS DISTINCT FROM (b.owed, b.house, b.stamp) OR h.unclear IS NOT NULL THEN 'moving'
                WHEN r.rest = 0 THEN 'fits' ELSE 'differs' END,
           CASE WHEN (n.owed, n.house, n.stamp) IS DISTINCT FROM (b.owed, b.house, b.stamp) THEN 'the books moved'
                ELSE coalesce(h.unclear, '') END,
           trim_scale(h.held)::text, trim_scale(n.owed)::text, trim_scale(n.house)::text, trim_scale(h.explained)::text,
           trim_scale(r.rest)::text
      FROM custody_books() AS n
      LEFT JOIN jsonb_to_recordset(p_before) AS b (asset text, owed numeric, house numeric, stamp text) USING (asset)
      JOIN holdings AS h USING (asset),
           LATERAL (SELECT h.held - n.owed - n.house - h.explained AS rest) AS r
     ORDER BY n.asset;
$$;

GRANT SELECT ON house_positions TO backstop_worker;
GRANT EXECUTE ON FUNCTION
    house_position_set, at_ms, check_withdrawals, check_settled, check_deposits, orders_to_compare, check_strange_orders, check_orders,
    check_fills, custody_books, custody_orders, custody_explained, custody_compared
TO backstop_worker;

CREATE TRIGGER house_positions_stay_all BEFORE TRUNCATE ON house_positions
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_rewriting();
