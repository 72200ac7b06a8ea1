-- Rewards: an amount out of a pool, credited to many users at once. A pool is an account of the house's own, `~rewards:<pool>`
-- for each asset; deposits fill it (`deposit_assign`), or an adjustment. What the platform keeps goes to `~house`. Opening and
-- crediting are one commit, so a reward is distributed or it is not: nothing is ever left half done.

SET LOCAL search_path = backstop, public;

INSERT INTO transitions (machine, state, event, next) VALUES
    ('reward', 'absent', 'distribute', 'distributed'),
    ('reward', 'absent', 'abandon', 'abandoned');

CREATE TABLE rewards (
    reward_id        text PRIMARY KEY CHECK (reward_id <> ''),
    -- The workflow that has distributed it, or ended it.
    holder           text NOT NULL CHECK (holder <> ''),
    content          jsonb NOT NULL,
    pool             text NOT NULL CHECK (pool <> ''),
    asset            text NOT NULL,
    amount           numeric(38, 18) NOT NULL CHECK (amount > 0),
    platform_fee_bps int NOT NULL CHECK (platform_fee_bps BETWEEN 0 AND 10000),
    requested_by     text NOT NULL CHECK (requested_by <> ''),
    state            text NOT NULL CHECK (state IN ('distributed', 'abandoned')),
    -- The pool's account; what the platform has kept; and what the users have got, all together.
    account          bigint REFERENCES accounts,
    platform_fee     numeric(38, 18) CHECK (platform_fee >= 0),
    allocated        numeric(38, 18) CHECK (allocated >= 0),
    reason           text,
    at               timestamptz NOT NULL DEFAULT clock_timestamp(),
    CHECK (num_nulls(account, platform_fee, allocated) = CASE state WHEN 'distributed' THEN 0 ELSE 3 END),
    CHECK (allocated + platform_fee = amount)
);
CREATE INDEX rewards_at ON rewards (at);

-- What each user has got of it.
CREATE TABLE reward_allocations (
    reward_id text NOT NULL REFERENCES rewards,
    owner     text NOT NULL CHECK (owner <> '' AND owner NOT LIKE '~%'),
    share     numeric NOT NULL CHECK (share > 0),
    amount    numeric(38, 18) NOT NULL CHECK (amount >= 0),
    PRIMARY KEY (reward_id, owner)
);

CREATE FUNCTION reward_receipt(r rewards, p_applied boolean) RETURNS jsonb
LANGUAGE sql STABLE AS $$
    SELECT jsonb_build_object('applied', p_applied, 'reward_id', r.reward_id, 'state', r.state, 'pool', r.pool,
        'asset_id', r.asset, 'amount', trim_scale(r.amount)::text, 'platform_fee', trim_scale(r.platform_fee)::text,
        'requested_by', r.requested_by, 'reason', r.reason,
        'allocations', (SELECT coalesce(jsonb_object_agg(owner, trim_scale(x.amount)::text), '{}')
                          FROM reward_allocations AS x WHERE x.reward_id = r.reward_id));
$$;

-- What a repeat finds. One that is distributed answers whoever asks: it is over.
CREATE FUNCTION repeat_reward(r rewards, p_content jsonb) RETURNS jsonb
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM refuse_other_content('reward/' || r.reward_id, r.content, p_content);
    IF r.state = 'abandoned' THEN
        PERFORM refuse('BS006', format('reward/%s was ended before it was distributed (%s); use a new id', r.reward_id, r.reason),
                       jsonb_build_object('subject', 'reward/' || r.reward_id, 'reason', r.reason));
    END IF;
    RETURN reward_receipt(r, false);
END $$;

-- Who splits is not believed: each user stands there once; the fee is that part of the amount, rounded down; every part is off
-- its exact share by less than the asset's smallest unit; and all together are the amount.
CREATE FUNCTION refuse_bad_split(
    p_asset text, p_amount numeric, p_fee_bps int, p_platform_fee numeric, p_users text[], p_shares numeric[],
    p_amounts numeric[]
) RETURNS void
LANGUAGE plpgsql STABLE AS $$
DECLARE
    v_places int := (SELECT decimals FROM assets WHERE asset = p_asset);
    v_unit   numeric := format('1e-%s', v_places);
    v_sum    numeric := (SELECT sum(share) FROM unnest(p_shares) AS share);
    v_wrong  text;
BEGIN
    IF (cardinality(p_users) BETWEEN 1 AND 1000 AND cardinality(p_users) = cardinality(p_shares)
        AND cardinality(p_users) = cardinality(p_amounts)) IS NOT TRUE
       OR (SELECT count(DISTINCT u) FROM unnest(p_users) AS u WHERE u <> '' AND u NOT LIKE '~%') <> cardinality(p_users) THEN
        PERFORM refuse_input('shares', '1 to 1000 users, each of them once');
    END IF;
    SELECT u INTO v_wrong FROM unnest(p_users, p_shares) AS x (u, share)
     WHERE (share > 0 AND share < 1e20) IS NOT TRUE ORDER BY u COLLATE "C" LIMIT 1;
    IF FOUND THEN
        PERFORM refuse_input('shares.' || v_wrong, 'a decimal above 0 and below 10^20');
    END IF;
    IF p_platform_fee IS DISTINCT FROM trunc(p_amount * p_fee_bps * 0.0001, v_places) THEN
        PERFORM refuse_input('platform_fee', format('%s of %s %s', trim_scale(trunc(p_amount * p_fee_bps * 0.0001, v_places)),
                                                    trim_scale(p_amount), p_asset));
    END IF;
    SELECT u INTO v_wrong FROM unnest(p_users, p_shares, p_amounts) AS x (u, share, amount)
     WHERE (amount >= 0 AND scale(trim_scale(amount)) <= v_places
            AND abs(amount * v_sum - (p_amount - p_platform_fee) * share) < v_unit * v_sum) IS NOT TRUE
     ORDER BY u COLLATE "C" LIMIT 1;
    IF FOUND THEN
        PERFORM refuse_input('allocations.' || v_wrong, 'its share, rounded to the asset''s smallest unit');
    END IF;
    IF (SELECT sum(amount) FROM unnest(p_amounts) AS amount) + p_platform_fee <> p_amount THEN
        PERFORM refuse_input('allocations', 'parts that sum up to the amount less the platform''s fee');
    END IF;
END $$;

-- distribute: pool available -> users available, and the platform's fee to `~house`, against a counter of the reward's own,
-- which comes to zero. The reward's row first, then all the accounts in the order of their ids. A credit is no spending: a
-- frozen user gets it; a frozen pool gives nothing.
CREATE FUNCTION reward_distribute(
    p_reward_id text, p_holder text, p_content jsonb, p_pool text, p_asset text, p_amount numeric, p_fee_bps int,
    p_requested_by text, p_platform_fee numeric, p_users text[], p_shares numeric[], p_amounts numeric[]
) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = backstop, pg_temp AS $$
DECLARE
    v_key     text := 'reward/' || p_reward_id;
    v_counter text := 'rewards:' || p_reward_id;
    v_pool    text := '~rewards:' || p_pool;
    r         rewards;
    c         record;
BEGIN
    SELECT * INTO r FROM rewards WHERE reward_id = p_reward_id;
    IF r.reward_id IS NOT NULL THEN
        RETURN repeat_reward(r, p_content);
    END IF;
    PERFORM refuse_bad_amount(p_asset, p_amount);
    PERFORM refuse_bad_split(p_asset, p_amount, p_fee_bps, p_platform_fee, p_users, p_shares, p_amounts);
    INSERT INTO rewards (reward_id, holder, content, pool, asset, amount, platform_fee_bps, requested_by, state, account,
                         platform_fee, allocated)
    VALUES (p_reward_id, p_holder, p_content, p_pool, p_asset, p_amount, p_fee_bps, p_requested_by,
            next_state('reward', v_key, 'absent', 'distribute'), account_of(v_pool, p_asset), p_platform_fee,
            (SELECT sum(x) FROM unnest(p_amounts) AS x))
    ON CONFLICT DO NOTHING RETURNING * INTO r;
    IF r.reward_id IS NULL THEN
        -- Another process was quicker; its commit is what we have waited for.
        SELECT * INTO STRICT r FROM rewards WHERE reward_id = p_reward_id;
        RETURN repeat_reward(r, p_content);
    END IF;
    INSERT INTO reward_allocations (reward_id, owner, share, amount)
    SELECT p_reward_id, u, share, amount FROM unnest(p_users, p_shares, p_amounts) AS x (u, share, amount);
    -- Accounts that are new are made in one order as well, before any is locked: two rewards may make the same ones.
    INSERT INTO accounts (owner, asset)
    SELECT u, p_asset FROM unnest(p_users || '~house'::text) AS u
     WHERE NOT EXISTS (SELECT FROM accounts WHERE owner = u AND asset = p_asset)
     ORDER BY u COLLATE "C"
    ON CONFLICT DO NOTHING;
    PERFORM FROM accounts WHERE asset = p_asset AND owner = ANY (p_users || '~house'::text || v_pool)
      ORDER BY id FOR NO KEY UPDATE;
    PERFORM lock_spendable(v_pool, p_asset, p_amount);
    PERFORM post(v_key, 1, 'reward_pool', r.account, v_counter, -p_amount, 0, 0);
    IF p_platform_fee > 0 THEN
        PERFORM post(v_key, 2, 'reward_fee', account_of('~house', p_asset), v_counter, p_platform_fee, 0, 0);
    END IF;
    FOR c IN
        SELECT row_number() OVER (ORDER BY x.owner COLLATE "C") + 2 AS line, a.id, x.amount
          FROM reward_allocations AS x JOIN accounts AS a ON a.owner = x.owner AND a.asset = p_asset
         WHERE x.reward_id = p_reward_id
         ORDER BY line
    LOOP
        CONTINUE WHEN c.amount = 0;
        PERFORM post(v_key, c.line::int, 'reward_credit', c.id, v_counter, c.amount, 0, 0);
    END LOOP;
    PERFORM emit(v_key, 'reward.distributed', reward_receipt(r, true) - 'applied' - 'reason');
    RETURN reward_receipt(r, true);
END $$;

-- abandon: the undo, of what may have run. Leaves a tombstone where nothing was distributed, so that it never is; too late
-- where it was: what users have may be spent.
CREATE FUNCTION reward_abandon(
    p_reward_id text, p_holder text, p_content jsonb, p_pool text, p_asset text, p_amount numeric, p_fee_bps int,
    p_requested_by text, p_reason text
) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = backstop, pg_temp AS $$
DECLARE
    v_key text := 'reward/' || p_reward_id;
    r     rewards;
BEGIN
    INSERT INTO rewards (reward_id, holder, content, pool, asset, amount, platform_fee_bps, requested_by, state, reason)
    VALUES (p_reward_id, p_holder, p_content, p_pool, p_asset, p_amount, p_fee_bps, p_requested_by,
            next_state('reward', v_key, 'absent', 'abandon'), p_reason)
    ON CONFLICT DO NOTHING RETURNING * INTO r;
    IF r.reward_id IS NOT NULL THEN
        PERFORM emit(v_key, 'reward.abandoned', reward_receipt(r, true) - '{applied,allocations,platform_fee}'::text[]);
        RETURN reward_receipt(r, true);
    END IF;
    SELECT * INTO STRICT r FROM rewards WHERE reward_id = p_reward_id;
    PERFORM refuse_other_content(v_key, r.content, p_content);
    IF r.state <> 'abandoned' THEN
        PERFORM refuse('BS007', format('%s is %s: its users have their parts', v_key, r.state),
                       jsonb_build_object('subject', v_key, 'state', r.state));
    END IF;
    RETURN reward_receipt(r, false);
END $$;

-- What was distributed, or ended, stays as it is.
CREATE TRIGGER rewards_stay BEFORE UPDATE OR DELETE ON rewards FOR EACH ROW EXECUTE FUNCTION refuse_rewriting();
CREATE TRIGGER reward_allocations_stay BEFORE UPDATE OR DELETE ON reward_allocations
    FOR EACH ROW EXECUTE FUNCTION refuse_rewriting();
