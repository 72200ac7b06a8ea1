//! Judges whole books by SQL of its own: from the business rows it works out which entries there must be, and from the
//! entries which balances, and compares. It calls none of the functions it judges.

use sqlx::{AssertSqlSafe, Connection, PgConnection};

/// Every entry that the business rows demand.
const DEMANDED: &str = "
    SELECT payout_id || '/open' AS key, 1 AS line, 'payout_open' AS kind, account, NULL AS counter,
           -amount AS d_available, 0::numeric AS d_locked, amount AS d_transit
      FROM payouts WHERE opened_at IS NOT NULL
    UNION ALL
    SELECT payout_id || '/abandon', 1, 'payout_abandon', account, NULL, amount, 0, -amount
      FROM payouts WHERE opened_at IS NOT NULL AND state = 'abandoned'
    UNION ALL
    SELECT payout_id || '/return', 1, 'payout_return', account, NULL, amount, 0, -amount
      FROM payouts WHERE state = 'returned'
    UNION ALL
    SELECT payout_id || '/settle', 1, 'payout_settle', account, 'world', 0, 0, network_fee - amount
      FROM payouts WHERE state = 'settled' AND amount > network_fee
    UNION ALL
    SELECT payout_id || '/settle', 2, 'payout_fee', account, 'fees', 0, 0, -network_fee
      FROM payouts WHERE state = 'settled' AND network_fee > 0
    UNION ALL
    SELECT 'deposit/' || venue || '/' || deposit_id, 1, 'deposit', account, 'world', amount, 0, 0
      FROM deposits
    UNION ALL
    SELECT 'deposit/' || venue || '/' || deposit_id || '/claim', line, 'deposit_claim',
           CASE line WHEN 1 THEN account ELSE claimed_by END, 'suspense', CASE line WHEN 1 THEN -amount ELSE amount END, 0, 0
      FROM deposits, generate_series(1, 2) AS line WHERE state = 'claimed'
    UNION ALL
    SELECT 'fill/' || f.order_id || '/' || f.trade_id, 1, 'fill_out', r.account, 'market:' || o.venue, 0, -f.reserved, 0
      FROM fills AS f JOIN orders AS o USING (order_id) JOIN reservations AS r USING (reservation_id)
     WHERE f.reserved > 0
    UNION ALL
    SELECT 'fill/' || f.order_id || '/' || f.trade_id, leg.line, leg.kind, a.id, leg.counter, leg.amount, 0, 0
      FROM fills AS f JOIN orders AS o USING (order_id),
           LATERAL (SELECT CASE o.side WHEN 'sell' THEN o.quote ELSE o.base END AS asset,
                           CASE o.side WHEN 'sell' THEN f.quote ELSE f.base END AS amount) AS gets,
           LATERAL (VALUES (2, 'fill_in', o.owner, 'market:' || o.venue, f.credited),
                           (3, 'fill_fee', o.owner, 'fees',
                            CASE WHEN f.fee_asset = gets.asset THEN -least(f.fee, f.credited) ELSE 0 END),
                           (4, 'fill_suspended', '~suspense', 'market:' || o.venue, gets.amount - f.credited))
               AS leg (line, kind, owner, counter, amount)
      LEFT JOIN accounts AS a ON a.owner = leg.owner
     WHERE leg.amount <> 0 AND a.asset = gets.asset
    UNION ALL
    SELECT 'fill/' || f.order_id || '/' || f.trade_id, leg.line, 'fill_house_fee', a.id, leg.counter, 0, 0, leg.amount
      FROM fills AS f JOIN orders AS o USING (order_id) JOIN accounts AS a ON a.owner = o.owner AND a.asset = f.fee_asset,
           LATERAL (VALUES (5, 'house:' || o.venue, f.house_fee), (6, 'fees', -f.house_fee)) AS leg (line, counter, amount)
     WHERE f.house_fee <> 0
    UNION ALL
    SELECT 'fill/' || f.order_id || '/' || f.trade_id, leg.line, 'fill_house_out', a.id, leg.counter, 0, 0,
           leg.sign * (gives.amount - f.reserved)
      FROM fills AS f JOIN orders AS o USING (order_id),
           LATERAL (SELECT CASE o.side WHEN 'sell' THEN o.base ELSE o.quote END AS asset,
                           CASE o.side WHEN 'sell' THEN f.base ELSE f.quote END AS amount) AS gives,
           LATERAL (VALUES (7, 'house:' || o.venue, 1), (8, 'market:' || o.venue, -1)) AS leg (line, counter, sign),
           LATERAL (SELECT id FROM accounts WHERE owner = '~suspense' AND asset = gives.asset) AS a
     WHERE gives.amount > f.reserved
    UNION ALL
    SELECT 'suspended_fill/' || f.venue || '/' || f.venue_order_id || '/' || f.trade_id || turn.suffix, leg.line,
           'suspended_fill_' || leg.kind, a.id, leg.counter, turn.sign * leg.available, 0, turn.sign * leg.transit
      FROM suspended_fills AS f
     CROSS JOIN (VALUES ('', 1), ('/back', -1)) AS turn (suffix, sign)
     CROSS JOIN LATERAL (SELECT CASE f.side WHEN 'buy' THEN f.base_asset ELSE f.quote_asset END AS got,
                                CASE f.side WHEN 'buy' THEN f.base ELSE f.quote END AS gained,
                                CASE f.side WHEN 'buy' THEN f.quote_asset ELSE f.base_asset END AS gave,
                                CASE f.side WHEN 'buy' THEN f.quote ELSE f.base END AS given) AS x
     CROSS JOIN LATERAL (VALUES (1, 'in', x.got, 'market:' || f.venue,
                                 CASE WHEN turn.sign = -1 AND f.house_pays THEN 0 ELSE x.gained END,
                                 CASE WHEN turn.sign = -1 AND f.house_pays THEN x.gained ELSE 0 END),
                                (6, 'in', x.got, 'house:' || f.venue, 0,
                                 CASE WHEN turn.sign = -1 AND f.house_pays THEN -x.gained ELSE 0 END),
                                (2, 'out', x.gave, 'house:' || f.venue, 0, x.given),
                                (3, 'out', x.gave, 'market:' || f.venue, 0, -x.given),
                                (4, 'fee', f.fee_asset, 'house:' || f.venue, 0, f.house_fee),
                                (5, 'fee', f.fee_asset, 'fees', 0, -f.house_fee))
                        AS leg (line, kind, asset, counter, available, transit)
      LEFT JOIN accounts AS a ON a.owner = '~suspense' AND a.asset = leg.asset
     WHERE (leg.available <> 0 OR leg.transit <> 0) AND (turn.sign = 1 OR f.order_id IS NOT NULL)
    UNION ALL
    SELECT 'suspended_fill/' || f.venue || '/' || f.venue_order_id || '/' || f.trade_id || '/give', leg.line,
           'suspended_fill_given', a.id, 'suspense', leg.sign * CASE f.side WHEN 'buy' THEN f.base ELSE f.quote END, 0, 0
      FROM suspended_fills AS f
     CROSS JOIN LATERAL (VALUES (1, '~suspense', -1), (2, f.given_to, 1)) AS leg (line, owner, sign)
      LEFT JOIN accounts AS a
           ON a.owner = leg.owner AND a.asset = CASE f.side WHEN 'buy' THEN f.base_asset ELSE f.quote_asset END
     WHERE f.given_to IS NOT NULL
    UNION ALL
    SELECT 'reservation/' || reservation_id || '/open', 1, 'reservation_open', account, NULL, -amount, amount, 0
      FROM reservations WHERE account IS NOT NULL
    UNION ALL
    SELECT 'reservation/' || reservation_id || '/release', 1, 'reservation_release', account, NULL, released, -released, 0
      FROM reservations WHERE state = 'released' AND released > 0
    UNION ALL
    SELECT 'reward/' || r.reward_id, leg.line::int, leg.kind, a.id, 'rewards:' || r.reward_id, leg.amount, 0, 0
      FROM rewards AS r
     CROSS JOIN LATERAL (SELECT 1 AS line, 'reward_pool' AS kind, '~rewards:' || r.pool AS owner, -r.amount AS amount
                          UNION ALL
                         SELECT 2, 'reward_fee', '~house', r.platform_fee
                          UNION ALL
                         SELECT row_number() OVER (ORDER BY x.owner COLLATE \"C\") + 2, 'reward_credit', x.owner, x.amount
                           FROM reward_allocations AS x WHERE x.reward_id = r.reward_id) AS leg
      LEFT JOIN accounts AS a ON a.owner = leg.owner AND a.asset = r.asset
     WHERE r.state = 'distributed' AND leg.amount <> 0
    UNION ALL
    SELECT 'adjustment/' || j.adjustment_id, 1, 'adjustment', a.id, 'adjustment', (j.content ->> 'delta')::numeric, 0, 0
      FROM adjustments AS j
      LEFT JOIN accounts AS a ON a.owner = j.content ->> 'user_id' AND a.asset = j.content ->> 'asset_id'";

const PRESENT: &str = "SELECT key, line::int, kind, account, counter, d_available, d_locked, d_transit FROM entries";

/// Each finds rows that must not be, and says what is wrong with them.
const DEVIATIONS: &[&str] = &[
    // The balance is the sum of the entries, and what the last of them says.
    "SELECT format('account %s holds %s + %s locked, its entries sum to %s + %s', a.id, a.available, a.locked,
                   coalesce(e.available, 0), coalesce(e.locked, 0))
       FROM accounts AS a
       LEFT JOIN (SELECT account, sum(d_available) AS available, sum(d_locked) AS locked FROM entries GROUP BY account)
            AS e ON e.account = a.id
      WHERE a.available <> coalesce(e.available, 0) OR a.locked <> coalesce(e.locked, 0)",
    "SELECT format('account %s is at version %s with %s + %s locked, its last entry says version %s, %s + %s locked',
                   a.id, a.version, a.available, a.locked, e.version, e.available_after, e.locked_after)
       FROM accounts AS a
       LEFT JOIN (SELECT DISTINCT ON (account) * FROM entries ORDER BY account, version DESC) AS e ON e.account = a.id
      WHERE a.version <> coalesce(e.version, 0) OR a.available <> coalesce(e.available_after, 0)
         OR a.locked <> coalesce(e.locked_after, 0)",
    "SELECT format('entry %s/%s leaves %s + %s locked, the entries up to it sum to %s + %s', key, line,
                   available_after, locked_after, available, locked)
       FROM (SELECT *, sum(d_available) OVER upto AS available, sum(d_locked) OVER upto AS locked
               FROM entries WINDOW upto AS (PARTITION BY account ORDER BY version)) AS e
      WHERE available_after <> available OR locked_after <> locked",
    // Versions count up without gaps, and the chain of hashes runs through all of them.
    "SELECT format('entry %s/%s is version %s of account %s, and number %s by count', key, line, version, account, number)
       FROM (SELECT *, row_number() OVER (PARTITION BY account ORDER BY version) AS number FROM entries) AS e
      WHERE version <> number",
    "SELECT format('entry %s/%s breaks the chain of account %s at version %s', key, line, account, version)
       FROM (SELECT *, coalesce(lag(hash) OVER (PARTITION BY account ORDER BY version), '') AS before FROM entries) AS e
      WHERE hash <> sha256(before || convert_to(jsonb_build_object(
                'account', account, 'at', extract(epoch FROM at), 'available_after', available_after,
                'counter', counter, 'd_available', d_available, 'd_locked', d_locked, 'd_transit', d_transit,
                'key', key, 'kind', kind, 'line', line, 'locked_after', locked_after, 'version', version)::text,
                'UTF8'))",
    "SELECT format('the head of account %s is not the hash of its last entry', a.id)
       FROM accounts AS a
       LEFT JOIN (SELECT DISTINCT ON (account) * FROM entries ORDER BY account, version DESC) AS e ON e.account = a.id
      WHERE a.head <> coalesce(e.hash, '')",
    // Nothing is negative, and nothing comes from or goes to nowhere.
    "SELECT format('account %s is negative: %s + %s locked', id, available, locked)
       FROM accounts WHERE available < 0 OR locked < 0",
    "SELECT format('entry %s/%s leaves a negative balance', key, line)
       FROM entries WHERE available_after < 0 OR locked_after < 0",
    "SELECT format('the parts of entry %s/%s do not sum to zero', key, line)
       FROM entries WHERE d_available + d_locked + d_transit + d_counter <> 0
         OR (counter IS NULL) <> (d_counter = 0)",
    // What is under way is what the business rows say.
    "SELECT format('account %s has %s in transit by its entries, %s by its payouts', a.id, coalesce(e.transit, 0),
                   coalesce(p.transit, 0))
       FROM accounts AS a
       LEFT JOIN (SELECT account, sum(d_transit) AS transit FROM entries GROUP BY account) AS e ON e.account = a.id
       LEFT JOIN (SELECT account, sum(in_transit) AS transit FROM payouts GROUP BY account) AS p ON p.account = a.id
      WHERE coalesce(e.transit, 0) <> coalesce(p.transit, 0)",
    "SELECT format('payout %s is %s with %s of %s in transit', payout_id, state, in_transit, amount)
       FROM payouts
      WHERE in_transit <> CASE WHEN state IN ('opened', 'attempted', 'needs_operator') THEN amount ELSE 0 END",
    "SELECT format('account %s has %s locked, its open reservations hold %s', a.id, a.locked, coalesce(r.held, 0))
       FROM accounts AS a
       LEFT JOIN (SELECT account, sum(remaining) AS held FROM reservations WHERE state = 'open' GROUP BY account) AS r
            ON r.account = a.id
      WHERE a.locked <> coalesce(r.held, 0)",
    "SELECT format('%s: users and transit hold %s, the other sides gave %s', asset, held, given)
       FROM (SELECT a.asset, sum(a.available + a.locked + coalesce(p.transit, 0)) AS held,
                    -sum(coalesce(e.counter, 0)) AS given
               FROM accounts AS a
               LEFT JOIN (SELECT account, sum(in_transit) AS transit FROM payouts GROUP BY account) AS p
                    ON p.account = a.id
               LEFT JOIN (SELECT account, sum(d_counter) AS counter FROM entries GROUP BY account) AS e
                    ON e.account = a.id
              GROUP BY a.asset) AS totals
      WHERE held <> given",
    // A row says what its content says, and stands on the account that its content names.
    "SELECT format('payout %s contradicts its content', p.payout_id)
       FROM payouts AS p LEFT JOIN accounts AS a ON a.id = p.account
      WHERE p.owner IS DISTINCT FROM p.content ->> 'user_id' OR p.asset IS DISTINCT FROM p.content ->> 'asset_id'
         OR p.amount IS DISTINCT FROM (p.content ->> 'amount')::numeric
         OR p.account IS NOT NULL AND (a.owner, a.asset) IS DISTINCT FROM (p.owner, p.asset)",
    "SELECT format('deposit %s/%s contradicts its content', d.venue, d.deposit_id)
       FROM deposits AS d JOIN accounts AS a ON a.id = d.account
      WHERE a.owner <> coalesce(d.content ->> 'user_id', '~suspense')
         OR a.asset IS DISTINCT FROM d.content ->> 'asset_id'
         OR d.amount IS DISTINCT FROM (d.content ->> 'amount')::numeric
         OR (d.state = 'credited') <> (d.content ->> 'user_id' IS NOT NULL)",
    "SELECT format('deposit %s/%s waits in suspense, and no finding says so', d.venue, d.deposit_id)
       FROM deposits AS d
      WHERE d.state = 'suspended'
        AND NOT EXISTS (SELECT FROM findings AS i WHERE i.kind = d.suspended_for AND i.state = 'open'
                           AND i.subject = 'deposit/' || d.venue || '/' || d.deposit_id)",
    "SELECT format('deposit %s/%s was claimed by account %s, which is of another asset', d.venue, d.deposit_id, c.id)
       FROM deposits AS d JOIN accounts AS c ON c.id = d.claimed_by JOIN accounts AS a ON a.id = d.account
      WHERE c.asset <> a.asset",
    "SELECT format('reservation %s contradicts its content', r.reservation_id)
       FROM reservations AS r LEFT JOIN accounts AS a ON a.id = r.account
      WHERE r.amount IS DISTINCT FROM (r.content ->> 'amount')::numeric
         OR r.account IS NOT NULL
            AND (a.owner, a.asset) IS DISTINCT FROM (r.content ->> 'user_id', r.content ->> 'asset_id')
         OR r.remaining + r.released
            <> CASE WHEN r.state = 'abandoned' THEN 0
                    ELSE r.amount - (SELECT coalesce(sum(f.reserved), 0) FROM fills AS f JOIN orders AS o USING (order_id)
                                      WHERE o.reservation_id = r.reservation_id) END",
    // An order's money is set aside exactly while it may be at the venue.
    "SELECT format('order %s is %s, its reservation is %s', o.order_id, o.state, r.state)
       FROM orders AS o LEFT JOIN reservations AS r USING (reservation_id)
      WHERE (o.state IN ('opened', 'attempted', 'placed')) <> (coalesce(r.state, '') = 'open')",
    "SELECT format('order %s ended with %s executed, %s booked', o.order_id, o.executed, coalesce(sum(f.base), 0))
       FROM orders AS o LEFT JOIN fills AS f USING (order_id)
      WHERE o.state = 'ended' GROUP BY o.order_id HAVING o.executed <> coalesce(sum(f.base), 0)",
    // A fill gives what it gets in the proportion that the reservation could pay for it.
    "SELECT format('fill %s of order %s gave %s of %s and got %s of %s', f.trade_id, o.order_id, f.reserved, legs.gives,
                   f.credited, legs.gets)
       FROM fills AS f JOIN orders AS o USING (order_id),
            LATERAL (SELECT CASE o.side WHEN 'sell' THEN f.base ELSE f.quote END AS gives,
                            CASE o.side WHEN 'sell' THEN f.quote ELSE f.base END AS gets) AS legs
      WHERE f.reserved > legs.gives
         OR f.credited <> CASE WHEN f.reserved = legs.gives THEN legs.gets
                               ELSE trunc(legs.gets * f.reserved / legs.gives, 18) END",
    // The whole fee is in the books, or nobody knew its asset.
    "SELECT format('fill %s of order %s cost %s %s, of which the house paid %s', f.trade_id, o.order_id, f.fee, f.fee_asset,
                   f.house_fee)
       FROM fills AS f JOIN orders AS o USING (order_id)
      WHERE f.house_fee <> f.fee - CASE WHEN f.fee_asset = CASE o.side WHEN 'sell' THEN o.quote ELSE o.base END
                                        THEN least(f.fee, f.credited) ELSE 0 END
        AND NOT (f.house_fee = 0 AND EXISTS (SELECT FROM findings AS i WHERE i.kind = 'fee_in_unknown_asset'
                                                AND i.subject = 'fill/' || f.order_id || '/' || f.trade_id))",
    "SELECT format('order %s contradicts its content, its strategy or its reservation', o.order_id)
       FROM orders AS o LEFT JOIN strategies AS s USING (strategy_key) LEFT JOIN reservations AS r USING (reservation_id)
      WHERE (o.side, o.price, o.quantity) IS DISTINCT FROM
                (o.content ->> 'side', (o.content ->> 'price')::numeric, (o.content ->> 'quantity')::numeric)
         OR coalesce(o.strategy_key, o.content ->> 'strategy_key') IS DISTINCT FROM o.content ->> 'strategy_key'
         OR (o.owner, o.venue, o.base, o.quote) IS DISTINCT FROM (s.owner, s.venue, s.base, s.quote)
         OR r.reservation_id IS NOT NULL
            AND (r.holder <> o.holder OR r.strategy_key IS DISTINCT FROM o.strategy_key
                 OR r.content ->> 'user_id' IS DISTINCT FROM o.owner
                 OR r.content ->> 'asset_id' IS DISTINCT FROM CASE o.side WHEN 'sell' THEN o.base ELSE o.quote END
                 OR r.amount < CASE o.side WHEN 'sell' THEN o.quantity ELSE o.price * o.quantity END)",
    "SELECT format('order %s is %s and was signed at %s, placed as %s', order_id, state, signed_at, venue_order_id)
       FROM orders
      WHERE (signed_at IS NULL) <> (state IN ('opened', 'abandoned')) OR state = 'placed' AND venue_order_id IS NULL
         OR venue_order_id IS NOT NULL AND state NOT IN ('placed', 'ended')
            AND NOT (state = 'void' AND EXISTS (SELECT FROM findings WHERE kind = 'order_placed_after_void'
                                                   AND subject = 'order/' || order_id))",
    // Every deposit that was routed to an order was decided on once, as a whole.
    "SELECT format('deposit %s/%s came in for order %s, and was not decided on', d.venue, d.deposit_id, t.order_id)
       FROM deposits AS d JOIN deposit_routes AS t ON t.venue = d.venue AND t.tag = d.tag AND t.order_id IS NOT NULL
       JOIN accounts AS a ON a.id = coalesce(d.claimed_by, d.account)
      WHERE a.owner = t.owner AND d.suspended_for IS DISTINCT FROM 'deposit_below_minimum'
        AND NOT EXISTS (SELECT FROM funding_parts AS x WHERE (x.venue, x.deposit_id) = (d.venue, d.deposit_id))
        AND NOT EXISTS (SELECT FROM operator_acts AS i
                         WHERE i.act = 'assign deposit'
                           AND i.subject = format('%s/%s to %s', d.venue, d.deposit_id, a.owner))",
    "SELECT format('part %s of order %s stands on the account of somebody else', x.reservation_id, x.order_id)
       FROM funding_parts AS x JOIN fundings AS f USING (order_id)
       JOIN deposits AS d ON (d.venue, d.deposit_id) = (x.venue, x.deposit_id)
       JOIN accounts AS a ON a.id = coalesce(d.claimed_by, d.account)
       LEFT JOIN reservations AS r USING (reservation_id)
      WHERE (a.owner, a.asset) IS DISTINCT FROM (f.owner, x.asset)
         OR r.reservation_id IS NOT NULL AND (r.account <> a.id OR r.amount <> x.amount)",
    "SELECT format('deposit %s/%s of %s was decided on for %s', d.venue, d.deposit_id, d.amount, sum(x.amount))
       FROM deposits AS d JOIN funding_parts AS x USING (venue, deposit_id)
      GROUP BY d.venue, d.deposit_id HAVING d.amount <> sum(x.amount)",
    "SELECT format('order %s is %s with %s of %s %s', f.order_id, f.state, n.reserved, n.needed, n.asset)
       FROM fundings AS f JOIN funding_needs AS n USING (order_id)
      WHERE f.state <> 'expired'
        AND (n.reserved <> (SELECT coalesce(sum(x.amount), 0) FROM funding_parts AS x
                             WHERE x.order_id = f.order_id AND x.asset = n.asset AND x.part = 'order'
                               AND x.state = CASE f.state WHEN 'released' THEN 'kept' ELSE 'reserved' END)
             OR f.state IN ('funded', 'released') AND n.reserved <> n.needed)",
    "SELECT format('part %s of an order that is %s is %s, its reservation is %s, its refund %s', x.reservation_id, f.state,
                   x.state, r.state, p.state)
       FROM funding_parts AS x JOIN fundings AS f USING (order_id)
       LEFT JOIN reservations AS r USING (reservation_id)
       LEFT JOIN payouts AS p ON p.payout_id = 'refund/' || x.reservation_id
      WHERE x.state = 'reserved' AND (f.state IN ('expired', 'released') OR r.state IS DISTINCT FROM 'open')
         OR x.state = 'refunding' AND (coalesce(r.state, '') = 'open') = (p.opened_at IS NOT NULL)
         OR x.state = 'refunding' AND p.state = 'abandoned'
         OR x.state = 'kept' AND r.state = 'open'",
    // A strategy that is being withdrawn from does not trade, and only one operation withdraws.
    "SELECT format('operation %s on strategy %s is %s, with %s open ends', p.operation_id, p.strategy_key, p.state,
                   count(o.order_id) + (s.status <> 'stopped')::int)
       FROM pauses AS p JOIN strategies AS s USING (strategy_key)
       LEFT JOIN orders AS o ON o.strategy_key = p.strategy_key AND o.state IN ('opened', 'attempted', 'placed')
      WHERE p.state = 'withdrawing' GROUP BY p.operation_id, s.status HAVING count(o.order_id) > 0 OR s.status <> 'stopped'",
    "SELECT format('%s operations on strategy %s at once', count(*), strategy_key)
       FROM pauses WHERE state IN ('draining', 'withdrawing') GROUP BY strategy_key HAVING count(*) > 1",
    // An intent is processed when it is done, and its order lives in no other's name.
    "SELECT format('intent %s is %s, its receipt is from %s', i.intent_id, i.state, r.at)
       FROM intents AS i FULL JOIN (SELECT * FROM receipts WHERE consumer = 'ExecuteIntent') AS r ON r.key = i.intent_id
      WHERE (coalesce(i.state, '') = 'done') <> (r.key IS NOT NULL)",
    "SELECT format('intent %s is %s, its order %s is %s', i.intent_id, i.state, o.order_id, o.state)
       FROM intents AS i JOIN orders AS o USING (order_id)
      WHERE i.kind = 'place_limit_order'
        AND (o.holder <> i.holder
             OR o.state IN ('opened', 'attempted') AND i.state <> 'claimed'
             OR o.state IN ('placed', 'ended') AND i.state NOT IN ('claimed', 'done')
             OR o.state IN ('void', 'abandoned') AND i.state = 'done')",
    // A strategy has one intent in flight, in the order of their tickets.
    "SELECT format('intents %s and %s of strategy %s overlap, or overtook', a.intent_id, b.intent_id, a.strategy_key)
       FROM intents AS a JOIN intents AS b ON b.strategy_key = a.strategy_key AND b.ticket > a.ticket
      WHERE b.claimed_at IS NOT NULL AND coalesce(a.ended_at, 'infinity') > b.claimed_at",
    // A reward is what its users and the platform got, and each of them got what largest remainders give, worked out here
    // once more in the asset's smallest units.
    "SELECT format('reward %s of %s is %s, with %s for %s users and a fee of %s', r.reward_id, r.amount, r.state,
                   sum(x.amount), count(x.owner), r.platform_fee)
       FROM rewards AS r LEFT JOIN reward_allocations AS x USING (reward_id)
      GROUP BY r.reward_id
     HAVING CASE r.state WHEN 'distributed' THEN coalesce(sum(x.amount), 0) + r.platform_fee IS DISTINCT FROM r.amount
                                                 OR sum(x.amount) IS DISTINCT FROM r.allocated
                         ELSE count(x.owner) > 0 OR r.platform_fee IS NOT NULL END",
    "SELECT format('reward %s gave %s %s for %s of %s, and kept %s', w.reward_id, w.owner, w.amount, w.share, w.shares,
                   w.platform_fee)
       FROM (SELECT d.*, row_number() OVER (PARTITION BY reward_id
                                                ORDER BY rest * share - down * shares DESC, owner COLLATE \"C\") AS place,
                    rest - sum(down) OVER (PARTITION BY reward_id) AS ups
               FROM (SELECT x.*, r.platform_fee, u.one, u.fee, u.rest, s.shares, div(u.rest * x.share, s.shares) AS down
                       FROM rewards AS r JOIN reward_allocations AS x USING (reward_id) JOIN assets USING (asset)
                      CROSS JOIN LATERAL (SELECT ('1e' || decimals)::numeric AS one) AS n
                      CROSS JOIN LATERAL (SELECT n.one, div(r.amount * n.one * r.platform_fee_bps, 10000) AS fee,
                                                 (r.amount - r.platform_fee) * n.one AS rest) AS u
                      CROSS JOIN LATERAL (SELECT sum(share) AS shares FROM reward_allocations AS y
                                           WHERE y.reward_id = r.reward_id) AS s) AS d) AS w
      WHERE w.amount * w.one <> w.down + (w.place <= w.ups)::int OR w.platform_fee * w.one <> w.fee",
    "SELECT format('reward %s contradicts its content', r.reward_id)
       FROM rewards AS r LEFT JOIN accounts AS a ON a.id = r.account
      WHERE (r.pool, r.asset, r.requested_by) IS DISTINCT FROM
            (r.content ->> 'pool', r.content ->> 'asset_id', r.content ->> 'requested_by')
         OR r.amount IS DISTINCT FROM (r.content ->> 'amount')::numeric
         OR r.platform_fee_bps IS DISTINCT FROM (r.content ->> 'platform_fee_bps')::int
         OR r.account IS NOT NULL AND (a.owner, a.asset) IS DISTINCT FROM ('~rewards:' || r.pool, r.asset)
         OR r.state = 'distributed' AND EXISTS (
                SELECT FROM (SELECT substr(key, 8) AS owner, value::numeric AS share
                               FROM jsonb_each_text(r.content) WHERE key LIKE 'shares.%') AS c
                  FULL JOIN (SELECT owner, share FROM reward_allocations AS x WHERE x.reward_id = r.reward_id) AS x
                       USING (owner)
                 WHERE c.share IS DISTINCT FROM x.share)",
    // A large withdrawal was approved by a second person, on the record.
    "SELECT format('withdrawal %s of %s was asked for by %s and decided by %s', payout_id, amount, requested_by, decided_by)
       FROM payouts
      WHERE lower(trim(decided_by)) = lower(trim(requested_by))
         OR decided_by IS NULL AND state = 'rejected'
         OR decided_by IS NOT NULL AND NOT EXISTS (
                SELECT FROM operator_acts
                 WHERE subject = payout_id AND operator = decided_by
                   AND act = CASE state WHEN 'rejected' THEN 'reject withdrawal' ELSE 'approve withdrawal' END)",
    "SELECT format('withdrawal %s of %s needs an approval, and is %s without one', p.payout_id, p.amount, p.state)
       FROM payouts AS p JOIN assets AS a ON a.asset = p.asset
      WHERE p.kind = 'withdrawal' AND p.amount >= a.approval_threshold AND p.decided_by IS NULL
        AND (p.state = 'queued' OR p.opened_at IS NOT NULL)
        AND NOT EXISTS (SELECT FROM findings AS i WHERE i.kind = 'books_lost_payout' AND i.subject = p.payout_id)",
    // Only what was attempted can have an end with the venue, and never two attempts may pay.
    "SELECT format('payout %s is %s after %s attempts, numbered up to %s, %s of them live', p.payout_id, p.state,
                   count(t.attempt), max(t.attempt), count(*) FILTER (WHERE t.outcome IN ('pending', 'unknown', 'accepted')))
       FROM payouts AS p LEFT JOIN payout_attempts AS t ON t.payout_id = p.payout_id
      GROUP BY p.payout_id
     HAVING (count(t.attempt) = 0) <> (p.state IN ('opened', 'abandoned', 'awaiting_approval', 'queued', 'rejected', 'expired')) OR count(t.attempt) <> coalesce(max(t.attempt), 0)
         OR count(*) FILTER (WHERE t.outcome IN ('pending', 'unknown', 'accepted')) > 1",
    // What people did by hand is on the record.
    "SELECT format('order %s was released, and nobody has done it', f.order_id)
       FROM fundings AS f
      WHERE f.state = 'released'
        AND NOT EXISTS (SELECT FROM operator_acts AS o
                         WHERE o.act = 'release order' AND o.subject = 'funding/' || f.order_id)",
    "SELECT format('%s adjustments, %s of them on the record', a.n, o.n)
       FROM (SELECT count(*) AS n FROM adjustments) AS a, (SELECT count(*) AS n FROM operator_acts WHERE act = 'adjust') AS o
      WHERE a.n <> o.n",
];

/// Compares everything in the books with everything else in them, as of one moment. Returns what deviates, in words;
/// nothing, when the books are sound. Takes a connection of the owner.
pub async fn check(connection: &mut PgConnection) -> Vec<String> {
    let mut transaction = connection.begin().await.unwrap();
    sqlx::query("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY").execute(&mut *transaction).await.unwrap();
    let missing = format!(
        "SELECT format('entry %s/%s is missing, or is another: %s', key, line, to_jsonb(demanded))
           FROM ({DEMANDED} EXCEPT ALL {PRESENT}) AS demanded"
    );
    let surplus = format!(
        "SELECT format('entry %s/%s belongs to no business row: %s', key, line, to_jsonb(present))
           FROM ({PRESENT} EXCEPT ALL ({DEMANDED})) AS present"
    );
    let mut deviations = Vec::new();
    for query in DEVIATIONS.iter().copied().chain([missing.as_str(), surplus.as_str()]) {
        let query = sqlx::query_scalar::<_, String>(AssertSqlSafe(query.to_owned()));
        deviations.extend(query.fetch_all(&mut *transaction).await.unwrap());
    }
    transaction.rollback().await.unwrap();
    deviations
}
