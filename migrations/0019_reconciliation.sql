-- Reconciliation: the books' own checks. Every entry is held against the one before it and the business row that asks for it, every
-- balance against its last entry, and all of it against what an earlier run has sealed.

SET LOCAL search_path = backstop, public;

-- What is wrong with an entry: by itself, after the one before it, and by its business row; null: nothing. `d` is what that row
-- asks for under the entry's key, line and kind: one row at most, found by the business row's own key. A transition posts in the
-- commit that writes the row, so whoever sees the one sees the other.
CREATE VIEW entry_faults AS
    SELECT e.account, e.version, e.key, e.line, e.xid, e.d_transit,
           CASE WHEN e.counter LIKE 'house:%' THEN e.d_counter ELSE 0 END AS d_house,
           CASE
               WHEN e.version > 1 AND b.version IS NULL THEN 'the version before it is missing'
               WHEN e.available_after <> coalesce(b.available_after, 0) + e.d_available
                    OR e.locked_after <> coalesce(b.locked_after, 0) + e.d_locked
                   THEN 'its balance is not the one before it and its own change'
               WHEN e.available_after < 0 OR e.locked_after < 0 THEN 'its balance is negative'
               WHEN e.hash <> sha256(coalesce(b.hash, '\x') || convert_to(entry_text(
                        e.key, e.line, e.kind, e.account, e.version, e.counter, e.d_available, e.d_locked, e.d_transit,
                        e.available_after, e.locked_after, e.at), 'UTF8'))
                   THEN 'its hash is not that of its fields and the entry before it'
               WHEN (e.account, e.counter, e.d_available, e.d_locked, e.d_transit)
                    IS DISTINCT FROM (d.account, d.counter, d.available, d.locked, d.transit)
                   THEN 'no business row asks for it'
           END AS fault
      FROM entries AS e
      LEFT JOIN entries AS b ON b.account = e.account AND b.version = e.version - 1
      LEFT JOIN LATERAL (
        SELECT p.account, m.counter, m.available, 0::numeric AS locked, m.transit
          FROM payouts AS p,
               LATERAL (VALUES ('payout_open', '/open', 1, NULL, -p.amount, p.amount, p.opened_at IS NOT NULL),
                               ('payout_abandon', '/abandon', 1, NULL, p.amount, -p.amount,
                                p.opened_at IS NOT NULL AND p.state = 'abandoned'),
                               ('payout_return', '/return', 1, NULL, p.amount, -p.amount, p.state = 'returned'),
                               ('payout_settle', '/settle', 1, 'world', 0, p.network_fee - p.amount, p.state = 'settled'),
                               ('payout_fee', '/settle', 2, 'fees', 0, -p.network_fee, p.state = 'settled'))
                   AS m (kind, suffix, line, counter, available, transit, has_been)
         WHERE e.kind LIKE 'payout\_%' AND p.payout_id = regexp_replace(e.key, '/[a-z]+$', '')
           AND (m.kind, p.payout_id || m.suffix, m.line) = (e.kind, e.key, e.line) AND m.has_been
        UNION ALL
        SELECT m.account, m.counter, m.available, 0, 0
          FROM deposits AS d,
               LATERAL (VALUES ('deposit', '', 1, d.account, 'world', d.amount, true),
                               ('deposit_claim', '/claim', 1, d.account, 'suspense', -d.amount, d.state = 'claimed'),
                               ('deposit_claim', '/claim', 2, d.claimed_by, 'suspense', d.amount, d.state = 'claimed'))
                   AS m (kind, suffix, line, account, counter, available, has_been)
         WHERE e.kind IN ('deposit', 'deposit_claim') AND d.venue = split_part(e.key, '/', 2)
           AND d.deposit_id = substr(CASE e.kind WHEN 'deposit' THEN e.key ELSE regexp_replace(e.key, '/claim$', '') END,
                                     length('deposit/' || split_part(e.key, '/', 2) || '/') + 1)
           AND (m.kind, format('deposit/%s/%s%s', d.venue, d.deposit_id, m.suffix), m.line) = (e.kind, e.key, e.line)
           AND m.has_been
        UNION ALL
        SELECT r.account, NULL, m.available, -m.available, 0
          FROM reservations AS r,
               LATERAL (VALUES ('reservation_open', '/open', -r.amount, r.account IS NOT NULL),
                               ('reservation_release', '/release', r.released, r.state = 'released'))
                   AS m (kind, suffix, available, has_been)
         WHERE e.kind LIKE 'reservation\_%' AND r.reservation_id = regexp_replace(e.key, '^reservation/(.*)/[a-z]+$', '\1')
           AND (m.kind, format('reservation/%s%s', r.reservation_id, m.suffix), 1) = (e.kind, e.key, e.line) AND m.has_been
        UNION ALL
        SELECT a.id, 'adjustment', (j.content ->> 'delta')::numeric, 0, 0
          FROM adjustments AS j JOIN accounts AS a ON a.owner = j.content ->> 'user_id' AND a.asset = j.content ->> 'asset_id'
         WHERE e.kind = 'adjustment' AND j.adjustment_id = substr(e.key, length('adjustment/') + 1)
           AND ('adjustment/' || j.adjustment_id, 1) = (e.key, e.line)
        UNION ALL
        SELECT m.account, m.counter, m.available, -m.unlocked, m.transit
          FROM fills AS f JOIN orders AS o USING (order_id),
               LATERAL (SELECT CASE o.side WHEN 'sell' THEN o.quote ELSE o.base END AS asset,
                               CASE o.side WHEN 'sell' THEN f.quote ELSE f.base END AS amount) AS gets,
               LATERAL (SELECT CASE o.side WHEN 'sell' THEN o.base ELSE o.quote END AS asset,
                               CASE o.side WHEN 'sell' THEN f.base ELSE f.quote END - f.reserved AS short) AS gives,
               LATERAL (VALUES ('fill_out', 1, 'market:' || o.venue, 0, f.reserved, 0, NULL, NULL),
                               ('fill_in', 2, 'market:' || o.venue, f.credited, 0, 0, o.owner, gets.asset),
                               ('fill_fee', 3, 'fees', CASE f.fee_asset WHEN gets.asset THEN -least(f.fee, f.credited) END,
                                0, 0, o.owner, gets.asset),
                               ('fill_suspended', 4, 'market:' || o.venue, gets.amount - f.credited, 0, 0, '~suspense', gets.asset),
                               ('fill_house_fee', 5, 'house:' || o.venue, 0, 0, f.house_fee, o.owner, f.fee_asset),
                               ('fill_house_fee', 6, 'fees', 0, 0, -f.house_fee, o.owner, f.fee_asset),
                               ('fill_house_out', 7, 'house:' || o.venue, 0, 0, gives.short, '~suspense', gives.asset),
                               ('fill_house_out', 8, 'market:' || o.venue, 0, 0, -gives.short, '~suspense', gives.asset))
                   AS leg (kind, line, counter, available, unlocked, transit, owner, asset),
               LATERAL (SELECT leg.*, CASE leg.line
                                   WHEN 1 THEN (SELECT account FROM reservations AS r WHERE r.reservation_id = o.reservation_id)
                                   ELSE (SELECT id FROM accounts AS a WHERE a.owner = leg.owner AND a.asset = leg.asset)
                               END AS account) AS m
         WHERE e.kind LIKE 'fill\_%' AND f.order_id = split_part(e.key, '/', 2)
           AND f.trade_id = substr(e.key, length('fill/' || split_part(e.key, '/', 2) || '/') + 1)
           AND (m.kind, format('fill/%s/%s', f.order_id, f.trade_id), m.line) = (e.kind, e.key, e.line)
        UNION ALL
        SELECT (SELECT id FROM accounts AS a WHERE a.owner = m.owner AND a.asset = m.asset), m.counter, m.available, 0, m.transit
          FROM suspended_fills AS f,
               LATERAL (SELECT CASE f.side WHEN 'buy' THEN f.base_asset ELSE f.quote_asset END AS got,
                               CASE f.side WHEN 'buy' THEN f.base ELSE f.quote END AS gained,
                               CASE f.side WHEN 'buy' THEN f.quote_asset ELSE f.base_asset END AS gave,
                               CASE f.side WHEN 'buy' THEN f.quote ELSE f.base END AS given) AS x,
               LATERAL (VALUES
                   ('in', '', 1, '~suspense', x.got, 'market:' || f.venue, x.gained, 0, true),
                   ('out', '', 2, '~suspense', x.gave, 'house:' || f.venue, 0, x.given, true),
                   ('out', '', 3, '~suspense', x.gave, 'market:' || f.venue, 0, -x.given, true),
                   ('fee', '', 4, '~suspense', f.fee_asset, 'house:' || f.venue, 0, f.house_fee, true),
                   ('fee', '', 5, '~suspense', f.fee_asset, 'fees', 0, -f.house_fee, true),
                   ('given', '/give', 1, '~suspense', x.got, 'suspense', -x.gained, 0, f.given_to IS NOT NULL),
                   ('given', '/give', 2, f.given_to, x.got, 'suspense', x.gained, 0, f.given_to IS NOT NULL),
                   -- Taken back, from suspense or, where that was given away, by the house.
                   ('in', '/back', 1, '~suspense', x.got, 'market:' || f.venue, CASE WHEN f.house_pays THEN 0 ELSE -x.gained END,
                    CASE WHEN f.house_pays THEN -x.gained ELSE 0 END, f.order_id IS NOT NULL),
                   ('in', '/back', 6, '~suspense', x.got, 'house:' || f.venue, 0, x.gained, f.order_id IS NOT NULL AND f.house_pays),
                   ('out', '/back', 2, '~suspense', x.gave, 'house:' || f.venue, 0, -x.given, f.order_id IS NOT NULL),
                   ('out', '/back', 3, '~suspense', x.gave, 'market:' || f.venue, 0, x.given, f.order_id IS NOT NULL),
                   ('fee', '/back', 4, '~suspense', f.fee_asset, 'house:' || f.venue, 0, -f.house_fee, f.order_id IS NOT NULL),
                   ('fee', '/back', 5, '~suspense', f.fee_asset, 'fees', 0, f.house_fee, f.order_id IS NOT NULL))
                   AS m (kind, suffix, line, owner, asset, counter, available, transit, has_been)
         WHERE e.kind LIKE 'suspended\_fill\_%' AND f.venue = split_part(e.key, '/', 2)
           AND f.venue_order_id = split_part(e.key, '/', 3) AND f.trade_id = split_part(e.key, '/', 4)
           AND ('suspended_fill_' || m.kind, concat_ws('/', 'suspended_fill', f.venue, f.venue_order_id, f.trade_id) || m.suffix, m.line)
               = (e.kind, e.key, e.line)
           AND m.has_been
        UNION ALL
        SELECT m.account, 'rewards:' || r.reward_id, m.amount, 0, 0
          FROM rewards AS r,
               LATERAL (VALUES ('reward_pool', 1, r.account, -r.amount),
                               ('reward_fee', 2, (SELECT id FROM accounts AS a WHERE a.owner = '~house' AND a.asset = r.asset),
                                r.platform_fee)) AS m (kind, line, account, amount)
         WHERE e.kind IN ('reward_pool', 'reward_fee') AND r.reward_id = substr(e.key, length('reward/') + 1)
           AND (m.kind, 'reward/' || r.reward_id, m.line) = (e.kind, e.key, e.line) AND r.state = 'distributed'
        UNION ALL
        SELECT a.id, 'rewards:' || r.reward_id, x.amount, 0, 0
          FROM accounts AS a JOIN rewards AS r USING (asset) JOIN reward_allocations AS x USING (reward_id, owner)
         WHERE e.kind = 'reward_credit' AND a.id = e.account AND r.reward_id = substr(e.key, length('reward/') + 1)
           AND 'reward/' || r.reward_id = e.key AND r.state = 'distributed'
           AND e.line = 2 + (SELECT count(*) FROM reward_allocations AS y
                              WHERE y.reward_id = r.reward_id AND y.owner COLLATE "C" <= x.owner COLLATE "C")
      ) AS d ON true;

-- What is wrong with a balance, held against its last entry; null: nothing.
CREATE VIEW account_faults AS
    SELECT a.id, a.owner, a.asset, a.version,
           CASE
               WHEN a.version <> coalesce(e.version, 0) THEN 'its version is not that of its last entry'
               WHEN a.available <> coalesce(e.available_after, 0) OR a.locked <> coalesce(e.locked_after, 0)
                   THEN 'its balance is not that of its last entry'
               WHEN a.head <> coalesce(e.hash, '\x') THEN 'its head is not the hash of its last entry'
           END AS fault
      FROM accounts AS a
      LEFT JOIN LATERAL (SELECT * FROM entries WHERE account = a.id ORDER BY version DESC LIMIT 1) AS e ON true;

CREATE FUNCTION entry_deviations(p_faults entry_faults[]) RETURNS SETOF deviation
LANGUAGE sql STABLE AS $$
    SELECT CASE f.fault WHEN 'no business row asks for it' THEN 'entry_without_row' ELSE 'entry_broken' END,
           format('entry/%s/%s', f.key, f.line), 'critical', f.fault, a.owner, a.asset,
           jsonb_build_object('why', f.fault, 'account', f.account, 'version', f.version)
      FROM unnest(p_faults) AS f JOIN accounts AS a ON a.id = f.account;
$$;

CREATE FUNCTION account_deviation(p_account accounts, p_fault text) RETURNS SETOF deviation
LANGUAGE sql STABLE AS $$
    SELECT 'account_differs', format('account/%s/%s', p_account.owner, p_account.asset), 'critical', p_fault,
           p_account.owner, p_account.asset, jsonb_build_object('why', p_fault, 'version', p_account.version);
$$;

-- What a run has seen of the books: how many entries, and a digest of all heads, each run's over the one before it. The
-- run also says it to Temporal, so that books which were put back, or rewritten as a whole, disagree with it later.
CREATE TABLE seals (
    seq     bigint PRIMARY KEY,
    entries bigint NOT NULL,
    digest  bytea NOT NULL,
    -- Every entry of a lower transaction id was committed, and seen.
    cursor  xid8 NOT NULL,
    at      timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE seal_heads (
    account bigint NOT NULL REFERENCES accounts,
    seq     bigint NOT NULL REFERENCES seals,
    version bigint NOT NULL,
    head    bytea NOT NULL,
    PRIMARY KEY (account, seq)
);
CREATE INDEX seal_heads_seq ON seal_heads (seq);
INSERT INTO seals (seq, entries, digest, cursor) VALUES (0, 0, '\x', '0');

-- What the house's own counters (`house:<venue>`) come to by an account's entries, up to that version of it: sealing adds the
-- entries since. An account without such entries has none.
CREATE TABLE house_sums (
    account bigint PRIMARY KEY REFERENCES accounts,
    version bigint NOT NULL,
    amount  numeric(38, 18) NOT NULL
);
CREATE INDEX entries_house ON entries (account, version) WHERE counter LIKE 'house:%';
CREATE INDEX entries_house_new ON entries (xid) WHERE counter LIKE 'house:%';

CREATE TRIGGER seals_stay BEFORE UPDATE OR DELETE ON seals FOR EACH ROW EXECUTE FUNCTION refuse_rewriting();
CREATE TRIGGER seal_heads_stay BEFORE UPDATE OR DELETE ON seal_heads FOR EACH ROW EXECUTE FUNCTION refuse_rewriting();

-- Where to read on. A cursor from the future is one of another cluster, from which these books were copied: all is new.
CREATE FUNCTION seal_cursor() RETURNS xid8
LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN cursor > pg_snapshot_xmax(pg_current_snapshot()) THEN '0' ELSE cursor END
      FROM seals ORDER BY seq DESC LIMIT 1;
$$;

-- Where a page of about so many entries ends that begins at `p_from`: with the next transaction. Null: it is the last.
CREATE FUNCTION news_end(p_from xid8, p_entries int) RETURNS xid8
LANGUAGE sql STABLE AS $$
    SELECT xid FROM entries
     WHERE xid > (SELECT xid FROM entries WHERE xid >= p_from ORDER BY xid OFFSET p_entries - 1 LIMIT 1)
     ORDER BY xid LIMIT 1;
$$;

-- What is wrong with the entries from `p_from` up to before `p_to` (null: all), and with the accounts that they are of. One
-- statement, so one moment.
CREATE FUNCTION books_news(p_from xid8, p_to xid8) RETURNS SETOF deviation
LANGUAGE sql STABLE AS $$
    SELECT d.*
      FROM entry_deviations((SELECT array_agg(f) FROM entry_faults AS f
                              WHERE f.xid >= p_from AND (p_to IS NULL OR f.xid < p_to) AND f.fault IS NOT NULL)) AS d
    UNION ALL
    SELECT d.* FROM account_faults AS f JOIN accounts AS a USING (id), LATERAL account_deviation(a, f.fault) AS d
     WHERE f.fault IS NOT NULL
       AND f.id IN (SELECT account FROM entries WHERE xid >= p_from AND (p_to IS NULL OR xid < p_to));
$$;

-- Seals what is new since the last seal. `p_cursor` was taken before it was looked at. Returns the last seal.
CREATE FUNCTION seal(p_cursor xid8) RETURNS seals
LANGUAGE plpgsql SECURITY DEFINER SET search_path = backstop, pg_temp AS $$
DECLARE
    v_from  xid8;
    s       seals;
    v_heads seal_heads[];
    v_more  bigint;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('seal', 0));
    v_from := seal_cursor();
    SELECT * INTO STRICT s FROM seals ORDER BY seq DESC LIMIT 1;
    SELECT array_agg(ROW(a.id, s.seq + 1, a.version, a.head)::seal_heads ORDER BY a.id),
           sum(a.version - coalesce(l.version, 0))
      INTO v_heads, v_more
      FROM accounts AS a
      LEFT JOIN LATERAL (SELECT version FROM seal_heads WHERE account = a.id ORDER BY seq DESC LIMIT 1) AS l ON true
     WHERE a.id IN (SELECT account FROM entries WHERE xid >= v_from) AND a.version > coalesce(l.version, 0);
    IF v_heads IS NULL THEN
        RETURN s;
    END IF;
    INSERT INTO seals (seq, entries, digest, cursor)
    VALUES (s.seq + 1, s.entries + v_more, sha256(s.digest || heads_digest(v_heads)), p_cursor)
    RETURNING * INTO s;
    INSERT INTO seal_heads SELECT * FROM unnest(v_heads);
    INSERT INTO house_sums AS k (account, version, amount)
    SELECT h.account, h.version, sum(e.d_counter)
      FROM unnest(v_heads) AS h
      LEFT JOIN house_sums AS b ON b.account = h.account
      JOIN entries AS e ON e.account = h.account AND e.version > coalesce(b.version, 0) AND e.version <= h.version
     WHERE e.counter LIKE 'house:%'
     GROUP BY h.account, h.version
    ON CONFLICT (account) DO UPDATE SET version = excluded.version, amount = k.amount + excluded.amount;
    RETURN s;
END $$;

CREATE FUNCTION heads_digest(p_heads seal_heads[]) RETURNS bytea
LANGUAGE sql IMMUTABLE AS $$
    SELECT sha256(convert_to(string_agg(format('%s/%s/%s', account, version, encode(head, 'hex')), ' ' ORDER BY account), 'UTF8'))
      FROM unnest(p_heads);
$$;

-- Holds what an earlier run has said to Temporal against what is here. Other than that, the books were put back to an earlier
-- moment, or rewritten as a whole: everything is halted, payouts too, until an operator resumes. A fact of the past: it stays
-- until an operator answers for it. Returns what is wrong, whether nobody has answered for it yet, and whether everything is
-- halted now; no row: nothing is wrong.
CREATE FUNCTION seal_check(p_seq bigint, p_entries bigint, p_digest bytea)
RETURNS TABLE (why text, is_open boolean, halted boolean)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = backstop, pg_temp AS $$
DECLARE
    s         seals;
    v_why     text;
    v_subject text := format('seal/%s/%s', p_seq, encode(p_digest, 'hex'));
BEGIN
    SELECT * INTO s FROM seals WHERE seq = p_seq;
    v_why := CASE
        WHEN s.seq IS NULL THEN format('the books have %s seals, an earlier run has seen %s with %s entries',
                                       (SELECT max(seq) FROM seals), p_seq, p_entries)
        WHEN s.digest <> p_digest OR s.entries <> p_entries
            THEN format('seal %s is not the one that an earlier run has made', p_seq)
    END;
    IF v_why IS NULL THEN
        RETURN;
    END IF;
    IF NOT EXISTS (SELECT FROM findings WHERE kind = 'books_restored' AND subject = v_subject) THEN
        PERFORM find('books_restored', v_subject, 'critical', jsonb_build_object(
            'why', v_why, 'todo', 'let every venue''s history be read, compare, then resume'));
        PERFORM halt('all', NULL, true, 'reconciliation', v_why);
    END IF;
    RETURN QUERY SELECT v_why,
        EXISTS (SELECT FROM findings AS f WHERE f.kind = 'books_restored' AND f.subject = v_subject AND f.state = 'open'),
        EXISTS (SELECT FROM halts AS h WHERE h.scope = 'all' AND h.payouts);
END $$;

CREATE INDEX payouts_in_transit ON payouts (account) WHERE in_transit > 0;

-- One page of the full pass: the entries after that place, in the order of accounts and versions. `p_transit` and `p_house` are
-- what the entries of that account come to in transit and for the house so far; where an account ends, its payouts and its
-- house sum have to say the same.
CREATE FUNCTION books_page(p_account bigint, p_version bigint, p_transit numeric, p_house numeric, p_rows int)
RETURNS TABLE (account bigint, version bigint, transit numeric, house numeric, seen bigint, deviations jsonb)
LANGUAGE sql STABLE AS $$
    WITH page AS MATERIALIZED (
        SELECT f FROM entry_faults AS f
         WHERE (f.account, f.version) > (p_account, p_version)
         ORDER BY f.account, f.version LIMIT p_rows
    ), summed AS (
        SELECT (f).account, max((f).version) AS version,
               sum((f).d_transit) + CASE (f).account WHEN p_account THEN p_transit ELSE 0 END AS transit,
               sum((f).d_house) + CASE (f).account WHEN p_account THEN p_house ELSE 0 END AS house
          FROM page GROUP BY (f).account
    ), ended AS (
        SELECT s.*, (SELECT coalesce(sum(in_transit), 0) FROM payouts AS p WHERE p.account = s.account AND in_transit > 0) AS of_payouts,
               coalesce(h.amount, 0)
               -- What is not summed up yet.
               + (SELECT coalesce(sum(e.d_counter), 0) FROM entries AS e
                   WHERE e.account = s.account AND e.version > coalesce(h.version, 0) AND e.counter LIKE 'house:%') AS by_sum
          FROM summed AS s LEFT JOIN house_sums AS h ON h.account = s.account
         WHERE NOT EXISTS (SELECT FROM entries AS e WHERE e.account = s.account AND e.version > s.version)
    ), deviations AS (
        SELECT * FROM entry_deviations((SELECT array_agg(f) FROM page WHERE (f).fault IS NOT NULL))
        UNION ALL
        SELECT d.* FROM ended AS e JOIN accounts AS a ON a.id = e.account,
               LATERAL account_deviation(a, 'its entries and its payouts do not agree on what is in transit') AS d
         WHERE e.transit <> e.of_payouts
        UNION ALL
        SELECT 'house_sum_differs', format('account/%s/%s', a.owner, a.asset), 'critical', (e.by_sum - e.house)::text, NULL, a.asset,
               jsonb_build_object('sum', trim_scale(e.by_sum)::text, 'by_entries', trim_scale(e.house)::text)
          FROM ended AS e JOIN accounts AS a ON a.id = e.account
         WHERE e.house <> e.by_sum
    )
    SELECT account, version, transit, house, (SELECT count(*) FROM page), (SELECT coalesce(jsonb_agg(d), '[]') FROM deviations AS d)
      FROM summed ORDER BY account DESC LIMIT 1;
$$;

-- One page of accounts: the balances, and what is in transit of one without entries.
CREATE FUNCTION accounts_page(p_after bigint, p_rows int)
RETURNS TABLE (account bigint, seen bigint, deviations jsonb)
LANGUAGE sql STABLE AS $$
    WITH page AS MATERIALIZED (
        SELECT id, version, fault FROM account_faults WHERE id > p_after ORDER BY id LIMIT p_rows
    ), faults AS (
        SELECT id, fault FROM page WHERE fault IS NOT NULL
        UNION ALL
        SELECT id, 'it has money in transit without an entry' FROM page AS p
         WHERE version = 0 AND EXISTS (SELECT FROM payouts AS x WHERE x.account = p.id AND in_transit > 0)
    )
    SELECT (SELECT max(id) FROM page), (SELECT count(*) FROM page), coalesce(jsonb_agg(d), '[]')
      FROM (SELECT DISTINCT ON (f.id) d.* FROM faults AS f JOIN accounts AS a ON a.id = f.id,
                   LATERAL account_deviation(a, f.fault) AS d) AS d
    HAVING (SELECT count(*) FROM page) > 0;
$$;

-- One page of what was sealed of the accounts.
CREATE FUNCTION heads_page(p_account bigint, p_seq bigint, p_rows int)
RETURNS TABLE (account bigint, seq bigint, seen bigint, deviations jsonb)
LANGUAGE sql STABLE AS $$
    WITH page AS MATERIALIZED (
        SELECT * FROM seal_heads AS h WHERE (h.account, h.seq) > (p_account, p_seq) ORDER BY h.account, h.seq LIMIT p_rows
    ), faults AS (
        SELECT DISTINCT ON (h.account) h.account, format('version %s is not what was sealed', h.version) AS fault
          FROM page AS h LEFT JOIN entries AS e ON e.account = h.account AND e.version = h.version
         WHERE e.hash IS DISTINCT FROM h.head
         ORDER BY h.account, h.version
    )
    SELECT account, seq, (SELECT count(*) FROM page),
           (SELECT coalesce(jsonb_agg(d), '[]')
              FROM faults AS f JOIN accounts AS a ON a.id = f.account, LATERAL account_deviation(a, f.fault) AS d)
      FROM page ORDER BY account DESC, seq DESC LIMIT 1;
$$;

-- One page of seals: whether each is made of the one before it and of its heads.
CREATE FUNCTION seals_page(p_seq bigint, p_rows int) RETURNS TABLE (seq bigint, seen bigint, deviations jsonb)
LANGUAGE sql STABLE AS $$
    WITH page AS MATERIALIZED (
        SELECT * FROM seals AS s WHERE s.seq > p_seq ORDER BY s.seq LIMIT p_rows
    ), broken AS (
        SELECT s.seq FROM page AS s
         WHERE s.digest IS DISTINCT FROM
               sha256((SELECT digest FROM seals AS b WHERE b.seq = s.seq - 1)
                      || (SELECT heads_digest(array_agg(h)) FROM seal_heads AS h WHERE h.seq = s.seq))
    )
    SELECT max(seq), count(*),
           (SELECT coalesce(jsonb_agg(ROW('seal_broken', format('seal/%s', seq), 'critical', '', NULL, NULL,
                jsonb_build_object('why', 'its digest is not that of its heads and the seal before it'))::deviation), '[]')
              FROM broken)
      FROM page HAVING count(*) > 0;
$$;
