-- What reconciliation holds rewards against: their own parts, and the entries that belong to them.

SET LOCAL search_path = backstop, public;

CREATE INDEX entries_rewards ON entries (at) WHERE kind = 'reward_pool';

-- Of every reward of the last day, and of those of which something was found: its parts are what was allocated, its entries are what its rows say; and no pool has given
-- anything without a reward. A critical deviation freezes the pool.
CREATE FUNCTION check_rewards() RETURNS SETOF deviation
LANGUAGE sql STABLE AS $$
    WITH young AS MATERIALIZED (
        SELECT * FROM rewards WHERE at > statement_timestamp() - interval '1 day' OR reward_id = ANY (found_by('rewards', 'reward/'))
    ), summed AS (
        SELECT y.*, (SELECT coalesce(sum(x.amount), 0) FROM reward_allocations AS x WHERE x.reward_id = y.reward_id) AS parts
          FROM young AS y
    ), demanded AS (
        SELECT reward_id, '~rewards:' || pool AS owner, asset, -amount AS amount FROM young WHERE state = 'distributed'
        UNION ALL
        SELECT reward_id, '~house', asset, platform_fee FROM young WHERE state = 'distributed' AND platform_fee > 0
        UNION ALL
        SELECT reward_id, x.owner, y.asset, x.amount
          FROM young AS y JOIN reward_allocations AS x USING (reward_id) WHERE y.state = 'distributed' AND x.amount > 0
    ), present AS (
        SELECT y.reward_id, a.owner, a.asset, e.d_available AS amount
          FROM young AS y JOIN entries AS e ON e.key = 'reward/' || y.reward_id JOIN accounts AS a ON a.id = e.account
         WHERE e.d_locked = 0 AND e.d_transit = 0 AND e.counter = 'rewards:' || y.reward_id
    ), differing AS (
        SELECT reward_id, owner, amount, 'missing' AS what FROM (SELECT * FROM demanded EXCEPT ALL SELECT * FROM present) AS m
        UNION ALL
        SELECT reward_id, owner, amount, 'surplus' FROM (SELECT * FROM present EXCEPT ALL SELECT * FROM demanded) AS s
    )
    SELECT CASE WHEN state = 'abandoned' OR parts + platform_fee > amount THEN 'reward_over_allocated' ELSE 'reward_under_allocated' END,
           'reward/' || reward_id, 'critical', (parts + coalesce(platform_fee, 0))::text, '~rewards:' || pool, asset,
           jsonb_build_object('state', state, 'amount', trim_scale(amount)::text, 'allocated', trim_scale(parts)::text,
                              'platform_fee', trim_scale(platform_fee)::text)
      FROM summed
     WHERE CASE state WHEN 'distributed' THEN parts <> allocated ELSE parts <> 0 END
    UNION ALL
    SELECT 'reward_credits_differ', 'reward/' || y.reward_id, 'critical', d.what, '~rewards:' || y.pool, y.asset,
           jsonb_build_object('state', y.state, 'entries', d.what)
      FROM young AS y
      JOIN (SELECT reward_id, string_agg(format('%s %s of %s', what, trim_scale(amount), owner), ', ' ORDER BY owner, what) AS what
              FROM differing GROUP BY reward_id) AS d USING (reward_id)
    UNION ALL
    SELECT 'reward_unknown', e.key, 'critical', '', a.owner, a.asset,
           jsonb_build_object('amount', trim_scale(-e.d_available)::text, 'why', 'the pool gave it, and there is no such reward')
      FROM entries AS e JOIN accounts AS a ON a.id = e.account
     WHERE e.kind = 'reward_pool' AND (e.at > statement_timestamp() - interval '1 day' OR e.key = ANY (found_by('rewards', '')))
       AND NOT EXISTS (SELECT FROM rewards WHERE reward_id = substr(e.key, 8));
$$;

GRANT EXECUTE ON FUNCTION check_rewards TO backstop_worker;
