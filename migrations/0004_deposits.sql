-- Deposits: what the venue says came in, keyed by the venue's own deposit id (one transaction may pay several outputs).
-- A deposit is a fact: it is always booked. Whose it is may be unknown; then it waits in suspense, with a finding, until
-- somebody claims it.

SET LOCAL search_path = backstop, public;

INSERT INTO transitions (machine, state, event, next) VALUES
    ('deposit', 'absent', 'credit', 'credited'),
    ('deposit', 'absent', 'suspend', 'suspended'),
    ('deposit', 'suspended', 'claim', 'claimed');

CREATE TABLE deposits (
    venue      text NOT NULL CHECK (venue ~ '^[a-z0-9_-]{1,32}$'),
    deposit_id text NOT NULL CHECK (deposit_id <> ''),
    content    jsonb NOT NULL,
    -- Where it was booked when it came in; and who has claimed it since.
    account    bigint NOT NULL REFERENCES accounts,
    claimed_by bigint REFERENCES accounts,
    tag        text,
    amount     numeric(38, 18) NOT NULL CHECK (amount > 0),
    state      text NOT NULL CHECK (state IN ('credited', 'suspended', 'claimed')),
    -- Why it went to suspense: the kind of the finding that says so.
    suspended_for text CHECK (suspended_for IN ('deposit_without_owner', 'deposit_below_minimum')),
    at         timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (venue, deposit_id),
    CHECK ((state = 'claimed') = (claimed_by IS NOT NULL)),
    CHECK ((state = 'credited') = (suspended_for IS NULL))
);
CREATE INDEX deposits_suspended ON deposits (venue, tag) WHERE state = 'suspended';

-- credit: world -> user available, or suspense when `p_owner` names no user. Returns whether this call booked it.
-- What a deposit says does not change; whose it is may have become known since, which changes nothing here.
CREATE FUNCTION deposit_credit(
    p_venue text, p_deposit_id text, p_owner text, p_asset text, p_amount numeric, p_tag text DEFAULT NULL,
    p_reason text DEFAULT 'deposit_without_owner'
) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = backstop, pg_temp AS $$
DECLARE
    v_key     text := format('deposit/%s/%s', p_venue, p_deposit_id);
    v_content jsonb := jsonb_build_object('user_id', p_owner, 'asset_id', p_asset, 'amount', trim_scale(p_amount)::text);
    v_account bigint;
    d         deposits;
BEGIN
    IF p_owner = '' OR p_owner LIKE '~%' THEN
        p_owner := NULL;
    END IF;
    SELECT * INTO d FROM deposits WHERE venue = p_venue AND deposit_id = p_deposit_id;
    IF d.deposit_id IS NULL THEN
        IF p_amount <= 0 OR p_amount >= 1e20 THEN
            PERFORM refuse_input('amount', 'a decimal above 0 and below 10^20');
        END IF;
        IF NOT EXISTS (SELECT FROM assets WHERE asset = p_asset) THEN
            PERFORM refuse_input('asset_id', 'a known asset');
        END IF;
        v_account := account_of(coalesce(p_owner, '~suspense'), p_asset);
        INSERT INTO deposits (venue, deposit_id, content, account, tag, amount, state, suspended_for)
        VALUES (p_venue, p_deposit_id, v_content, v_account, p_tag, p_amount,
                next_state('deposit', v_key, 'absent', CASE WHEN p_owner IS NULL THEN 'suspend' ELSE 'credit' END),
                CASE WHEN p_owner IS NULL THEN p_reason END)
        ON CONFLICT DO NOTHING RETURNING * INTO d;
        IF d.deposit_id IS NOT NULL THEN
            PERFORM post(v_key, 1, 'deposit', v_account, 'world', p_amount, 0, 0);
            PERFORM emit(v_key, 'deposit.' || d.state, v_content);
            -- What kept it from being booked so far.
            UPDATE findings SET state = 'closed', last_seen = clock_timestamp()
             WHERE subject = v_key AND kind IN ('deposit_unreadable', 'deposit_not_bookable') AND state = 'open';
            IF p_owner IS NULL THEN
                PERFORM find(p_reason, v_key, 'warning', v_content || jsonb_build_object('tag', p_tag));
            END IF;
            RETURN true;
        END IF;
        SELECT * INTO STRICT d FROM deposits WHERE venue = p_venue AND deposit_id = p_deposit_id;
    END IF;
    PERFORM refuse_other_content(v_key, d.content, v_content);
    RETURN false;
END $$;

-- claim: suspense -> user available, once it is known whose it is. The two accounts are taken in the order of their ids.
CREATE FUNCTION deposit_claim(p_venue text, p_deposit_id text, p_owner text) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
    v_key     text := format('deposit/%s/%s', p_venue, p_deposit_id);
    v_account bigint;
    v_asset   text;
    d         deposits;
BEGIN
    SELECT * INTO d FROM deposits WHERE venue = p_venue AND deposit_id = p_deposit_id FOR NO KEY UPDATE;
    IF d.state <> 'suspended' THEN
        RETURN false;
    END IF;
    SELECT asset INTO STRICT v_asset FROM accounts WHERE id = d.account;
    v_account := account_of(p_owner, v_asset);
    PERFORM FROM accounts WHERE id IN (d.account, v_account) ORDER BY id FOR NO KEY UPDATE;
    UPDATE deposits SET state = next_state('deposit', v_key, d.state, 'claim'), claimed_by = v_account
     WHERE venue = p_venue AND deposit_id = p_deposit_id;
    PERFORM post(v_key || '/claim', 1, 'deposit_claim', d.account, 'suspense', -d.amount, 0, 0);
    PERFORM post(v_key || '/claim', 2, 'deposit_claim', v_account, 'suspense', d.amount, 0, 0);
    PERFORM emit(v_key, 'deposit.claimed', d.content || jsonb_build_object('user_id', p_owner));
    UPDATE findings SET state = 'closed', last_seen = clock_timestamp()
     WHERE subject = v_key AND kind = d.suspended_for AND state = 'open';
    RETURN true;
END $$;

-- An operator says whose a deposit in suspense is: a user's, the house's own, or a pool's of rewards. It pays for no order any
-- more: that is for the deposit's own tag to say.
CREATE FUNCTION deposit_assign(p_venue text, p_deposit_id text, p_owner text, p_operator text, p_evidence text)
RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = backstop, pg_temp AS $$
BEGIN
    IF p_owner = '' OR p_owner LIKE '~%' AND p_owner <> '~house' AND p_owner !~ '^~rewards:.' THEN
        PERFORM refuse_input('user_id', 'a user, ~house, or ~rewards:<pool>');
    END IF;
    IF NOT EXISTS (SELECT FROM deposits WHERE venue = p_venue AND deposit_id = p_deposit_id) THEN
        PERFORM refuse('BS008', format('there is no deposit %s of %s', p_deposit_id, p_venue),
                       jsonb_build_object('subject', format('deposit/%s/%s', p_venue, p_deposit_id)));
    END IF;
    IF NOT deposit_claim(p_venue, p_deposit_id, p_owner) THEN
        RETURN false;
    END IF;
    INSERT INTO operator_acts (act, subject, operator, evidence)
    VALUES ('assign deposit', format('%s/%s to %s', p_venue, p_deposit_id, p_owner), p_operator, p_evidence);
    RETURN true;
END $$;

-- Whether the deposit was taken down before. That its record says something else now is a finding: it refuses nothing.
CREATE FUNCTION deposit_known(p_venue text, p_deposit_id text, p_asset text, p_amount numeric) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
    v_record jsonb := jsonb_build_object('asset_id', p_asset, 'amount', trim_scale(p_amount)::text);
    d        deposits;
BEGIN
    SELECT * INTO d FROM deposits WHERE venue = p_venue AND deposit_id = p_deposit_id;
    IF NOT d.content @> v_record THEN
        PERFORM find('deposit_differs', format('deposit/%s/%s', p_venue, p_deposit_id), 'critical',
                     jsonb_build_object('booked', d.content, 'record', v_record));
    END IF;
    RETURN d.deposit_id IS NOT NULL;
END $$;

-- Of what waits in suspense under a tag: all the rows, and then all the accounts in the order of their ids, before any of
-- it is claimed. Suspense is shared by everybody; taken one by one, two orders would wait for each other.
CREATE FUNCTION lock_suspended(p_venue text, p_tag text, p_owner text) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    v_accounts bigint[];
    v_assets   text[];
BEGIN
    PERFORM FROM deposits WHERE venue = p_venue AND tag = p_tag AND state = 'suspended'
      ORDER BY deposit_id FOR NO KEY UPDATE;
    SELECT array_agg(DISTINCT a.id), array_agg(DISTINCT a.asset ORDER BY a.asset) INTO v_accounts, v_assets
      FROM deposits AS x JOIN accounts AS a ON a.id = x.account
     WHERE x.venue = p_venue AND x.tag = p_tag AND x.state = 'suspended';
    v_accounts := v_accounts || ARRAY(SELECT account_of(p_owner, asset) FROM unnest(v_assets) AS asset);
    PERFORM FROM accounts WHERE id = ANY (v_accounts) ORDER BY id FOR NO KEY UPDATE;
END $$;

CREATE TRIGGER deposits_stay BEFORE DELETE ON deposits FOR EACH ROW EXECUTE FUNCTION refuse_rewriting();
CREATE TRIGGER deposits_facts_stay
    BEFORE UPDATE OF venue, deposit_id, content, account, tag, amount, suspended_for, at ON deposits
    FOR EACH ROW EXECUTE FUNCTION refuse_rewriting();
