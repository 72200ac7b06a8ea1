-- What reconciliation compares inside the books: business rows with entries, with each other, and with the clock. Each check is
-- one statement, so that it sees one moment.

SET LOCAL search_path = backstop, public;

CREATE INDEX payouts_changed ON payouts (changed_at);
CREATE INDEX intents_changed ON intents (changed_at);

-- What a check has found it looks at until it is gone, however old it is by then.
CREATE FUNCTION found_by(p_check text, p_prefix text) RETURNS text[]
LANGUAGE sql STABLE AS $$
    SELECT array_agg(substr(subject, length(p_prefix) + 1)) FROM findings
     WHERE state = 'open' AND found_by = p_check AND starts_with(subject, p_prefix);
$$;

-- Money in transit is that of the open payouts, payout by payout; and none of them stands still for too long.
CREATE FUNCTION check_transit() RETURNS SETOF deviation
LANGUAGE sql STABLE AS $$
    SELECT 'payout_transit_differs', p.payout_id, 'critical', e.transit::text, p.owner, p.asset,
           jsonb_build_object('state', p.state, 'in_transit', trim_scale(p.in_transit)::text,
                              'by_entries', trim_scale(e.transit)::text)
      FROM payouts AS p,
           LATERAL (SELECT coalesce(sum(d_transit), 0) AS transit FROM entries
                     WHERE key IN (p.payout_id || '/open', p.payout_id || '/abandon', p.payout_id || '/return',
                                   p.payout_id || '/settle')) AS e
     WHERE (p.state IN ('awaiting_approval', 'queued', 'opened', 'attempted', 'needs_operator')
            OR p.changed_at > statement_timestamp() - interval '1 day'
            OR p.payout_id = ANY (found_by('transit', '')))
       AND e.transit <> p.in_transit
    UNION ALL
    -- An approval may take a week. An operator is called by a finding of his own, and reminded here.
    SELECT 'payout_stuck', payout_id, 'warning', state, owner, asset,
           jsonb_build_object('state', state, 'since', changed_at, 'holder', holder)
      FROM payouts
     WHERE state IN ('queued', 'opened') AND changed_at < statement_timestamp() - interval '15 minutes'
        OR state = 'attempted' AND changed_at < statement_timestamp() - interval '2 hours'
        OR state = 'needs_operator' AND changed_at < statement_timestamp() - interval '1 day'
        OR state = 'awaiting_approval' AND changed_at < statement_timestamp() - interval '8 days';
$$;

-- What is locked is what the open reservations hold, and each of these belongs to something that lives.
CREATE FUNCTION check_reservations() RETURNS SETOF deviation
LANGUAGE sql STABLE AS $$
    SELECT 'locked_differs', format('account/%s/%s', a.owner, a.asset), 'critical', (a.locked - r.held)::text, a.owner, a.asset,
           jsonb_build_object('locked', trim_scale(a.locked)::text, 'reserved', trim_scale(r.held)::text)
      FROM accounts AS a
      LEFT JOIN (SELECT account, sum(remaining) AS held FROM reservations WHERE state = 'open' GROUP BY account) AS s
           ON s.account = a.id,
           LATERAL (SELECT coalesce(s.held, 0) AS held) AS r
     WHERE a.locked <> r.held
    UNION ALL
    SELECT 'reservation_orphaned', 'reservation/' || r.reservation_id, 'critical', '', a.owner, a.asset,
           jsonb_build_object('remaining', trim_scale(r.remaining)::text, 'holder', r.holder)
      FROM reservations AS r JOIN accounts AS a ON a.id = r.account
     WHERE r.state = 'open'
       AND NOT EXISTS (SELECT FROM orders AS o
                        WHERE o.reservation_id = r.reservation_id AND o.state IN ('opened', 'attempted', 'placed'))
       AND NOT EXISTS (SELECT FROM funding_parts AS x
                        WHERE x.reservation_id = r.reservation_id AND x.state IN ('reserved', 'refunding'))
    UNION ALL
    SELECT 'order_without_reservation', 'order/' || o.order_id, 'critical', '', o.owner,
           CASE o.side WHEN 'sell' THEN o.base ELSE o.quote END,
           jsonb_build_object('state', o.state, 'reservation', o.reservation_id)
      FROM orders AS o LEFT JOIN reservations AS r USING (reservation_id)
     WHERE o.state IN ('opened', 'attempted', 'placed') AND coalesce(r.state, '') <> 'open';
$$;

-- An intent ends, agrees with its order, and was processed exactly if it is done.
CREATE FUNCTION check_intents() RETURNS SETOF deviation
LANGUAGE sql STABLE AS $$
    SELECT 'intent_stale', 'intent/' || intent_id, 'warning', state, NULL, NULL,
           jsonb_build_object('state', state, 'since', changed_at, 'holder', holder)
      FROM intents
     WHERE state IN ('waiting', 'claimed') AND changed_at < statement_timestamp() - interval '15 minutes'
    UNION ALL
    SELECT 'intent_inconsistent', 'intent/' || i.intent_id, 'critical', f.fault, o.owner,
           CASE o.side WHEN 'sell' THEN o.base ELSE o.quote END,
           jsonb_build_object('why', f.fault, 'state', i.state, 'order', o.order_id, 'order_state', o.state)
      FROM intents AS i
      LEFT JOIN orders AS o ON o.order_id = i.order_id AND i.kind = 'place_limit_order'
      LEFT JOIN receipts AS r ON r.consumer = 'ExecuteIntent' AND r.key = i.intent_id,
           LATERAL (SELECT CASE
               WHEN (i.state = 'done') <> (r.key IS NOT NULL) THEN 'it was processed without being done, or done without that'
               WHEN o.state IN ('opened', 'attempted') AND i.state <> 'claimed'
                   THEN 'its order may be sent without its claim'
               WHEN o.state IN ('placed', 'ended') AND i.state NOT IN ('claimed', 'done') THEN 'its order was placed after all'
               WHEN o.state IN ('void', 'abandoned') AND i.state = 'done' THEN 'it is done, and its order never was'
           END AS fault) AS f
     WHERE f.fault IS NOT NULL
       AND (i.state IN ('waiting', 'claimed') OR i.changed_at > statement_timestamp() - interval '1 day'
            OR i.intent_id = ANY (found_by('intents', 'intent/')));
$$;
