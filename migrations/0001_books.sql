-- The books: accounts of users, and the entries that are the only record of why a balance is what it is.
-- Everything that is not a user's account is a counter named on the entry (world, fees, adjustment, ...), so that
-- no hot row is shared between users. Money that has left a user's balance but not yet our hands is `d_transit`.

CREATE SCHEMA backstop;
SET LOCAL search_path = backstop, public;

CREATE TABLE assets (
    asset              text PRIMARY KEY CHECK (asset ~ '^[A-Z0-9]{1,20}$'),
    decimals           smallint NOT NULL CHECK (decimals BETWEEN 0 AND 18),
    -- A withdrawal of this much or more waits for a second person; null: none does.
    approval_threshold numeric(38, 18) CHECK (approval_threshold > 0)
);

-- Where an asset can be paid out: the venue that sends it, and what an address and a tag look like there.
CREATE TABLE networks (
    asset           text NOT NULL REFERENCES assets,
    network         text NOT NULL,
    venue           text NOT NULL CHECK (venue ~ '^[a-z0-9_-]{1,32}$'),
    address_pattern text NOT NULL,
    tag_pattern     text,
    -- The venue does not count what comes in below this.
    deposit_min     numeric(38, 18) NOT NULL DEFAULT 0 CHECK (deposit_min >= 0),
    PRIMARY KEY (asset, network)
);

-- Owners that begin with '~' are the house's own (suspense); a user id may not.
CREATE TABLE accounts (
    id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    owner     text NOT NULL CHECK (owner <> ''),
    asset     text NOT NULL REFERENCES assets,
    available numeric(38, 18) NOT NULL DEFAULT 0 CHECK (available >= 0),
    locked    numeric(38, 18) NOT NULL DEFAULT 0 CHECK (locked >= 0),
    version   bigint NOT NULL DEFAULT 0 CHECK (version >= 0),
    head      bytea NOT NULL DEFAULT '\x',
    frozen_by text,
    UNIQUE (owner, asset)
);

-- One line of one movement. `counter` is the other side, and takes what the account's three parts give.
-- `xid` lets readers follow commits: ids and sequences are handed out before the commit, and are not its order.
CREATE TABLE entries (
    key             text NOT NULL,
    line            smallint NOT NULL,
    kind            text NOT NULL,
    account         bigint NOT NULL REFERENCES accounts,
    version         bigint NOT NULL,
    counter         text,
    d_available     numeric(38, 18) NOT NULL,
    d_locked        numeric(38, 18) NOT NULL,
    d_transit       numeric(38, 18) NOT NULL,
    d_counter       numeric(38, 18) NOT NULL GENERATED ALWAYS AS (-(d_available + d_locked + d_transit)) STORED,
    available_after numeric(38, 18) NOT NULL,
    locked_after    numeric(38, 18) NOT NULL,
    hash            bytea NOT NULL,
    xid             xid8 NOT NULL DEFAULT pg_current_xact_id(),
    at              timestamptz NOT NULL,
    PRIMARY KEY (key, line),
    UNIQUE (account, version),
    CHECK ((counter IS NULL) = (d_available + d_locked + d_transit = 0))
);
CREATE INDEX entries_xid ON entries (xid);

-- The allowed transitions of every state machine; `absent` is the state of a row that does not exist.
CREATE TABLE transitions (
    machine text NOT NULL,
    state   text NOT NULL,
    event   text NOT NULL,
    next    text NOT NULL,
    PRIMARY KEY (machine, state, event)
);

CREATE TABLE outbox (
    id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    aggregate text NOT NULL,
    kind      text NOT NULL,
    payload   jsonb NOT NULL,
    xid       xid8 NOT NULL DEFAULT pg_current_xact_id(),
    at        timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- What looked wrong. One open row per (kind, subject).
CREATE TABLE findings (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind       text NOT NULL,
    subject    text NOT NULL,
    severity   text NOT NULL CHECK (severity IN ('warning', 'critical')),
    evidence   jsonb NOT NULL,
    state      text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'closed')),
    first_seen timestamptz NOT NULL DEFAULT clock_timestamp(),
    last_seen  timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- The check that looks for it, and closes it when it is gone. Without one it is something that has happened: it stays
    -- until what it asks for is done, or somebody answers for it.
    found_by   text,
    -- The run that has frozen the account concerned for it; and whether that was frozen, for this or before.
    run        text,
    froze      boolean NOT NULL DEFAULT false,
    -- How large it is, in a word that stays the same while nothing gets worse.
    measure    text NOT NULL DEFAULT '',
    acknowledged_by text,
    acknowledged_at timestamptz,
    CHECK ((acknowledged_by IS NULL) = (acknowledged_at IS NULL))
);
CREATE UNIQUE INDEX findings_open ON findings (kind, subject) WHERE state = 'open';
CREATE INDEX findings_frozen ON findings (run) WHERE froze;

-- What people did by hand, with their reasons.
CREATE TABLE operator_acts (
    id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    act      text NOT NULL,
    subject  text NOT NULL,
    operator text NOT NULL CHECK (operator <> ''),
    evidence text NOT NULL CHECK (evidence <> ''),
    at       timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- Refusals carry an SQLSTATE of class BS and a JSON detail; callers read those, never the message.
--   BS001 invalid input      BS002 insufficient funds  BS003 frozen      BS004 conflict
--   BS005 held by another    BS006 abandoned           BS007 too late    BS008 not found
--   BS009 not allowed now    BS010 in doubt            BS011 too early   BS012 what was written stays
--   BS013 rejected by the venue                        BS014 destination not allowed
--   BS015 decided by the requester                     BS016 halted
CREATE FUNCTION refuse(code text, message text, detail jsonb) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION USING ERRCODE = code, MESSAGE = message, DETAIL = detail::text;
END $$;

CREATE FUNCTION refuse_input(field text, expected text) RETURNS void
LANGUAGE sql AS $$
    SELECT refuse('BS001', format('%s: expected %s', field, expected),
                  jsonb_build_object('field', field, 'expected', expected));
$$;

CREATE FUNCTION next_state(p_machine text, p_subject text, p_state text, p_event text) RETURNS text
LANGUAGE plpgsql STABLE AS $$
DECLARE
    result text;
BEGIN
    SELECT next INTO result FROM transitions
     WHERE machine = p_machine AND state = p_state AND event = p_event;
    IF result IS NULL THEN
        PERFORM refuse('BS009', format('%s is %s, which does not allow %s', p_subject, p_state, p_event),
                       jsonb_build_object('subject', p_subject, 'state', p_state, 'event', p_event));
    END IF;
    RETURN result;
END $$;

-- The first field in which two flat JSON objects differ; null when they are the same.
CREATE FUNCTION differing_field(a jsonb, b jsonb) RETURNS text
LANGUAGE sql IMMUTABLE AS $$
    SELECT coalesce(x.key, y.key)
      FROM jsonb_each(a) AS x FULL JOIN jsonb_each(b) AS y ON x.key = y.key
     WHERE x.value IS DISTINCT FROM y.value
     ORDER BY 1 LIMIT 1;
$$;

CREATE FUNCTION refuse_other_content(subject text, stored jsonb, given jsonb) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    field text := differing_field(stored, given);
BEGIN
    IF field IS NOT NULL THEN
        PERFORM refuse('BS004', format('%s exists with another %s', subject, field),
                       jsonb_build_object('subject', subject, 'field', field));
    END IF;
END $$;

-- `p_field` is what the caller puts before the names of the two fields.
CREATE FUNCTION refuse_bad_amount(p_asset text, p_amount numeric, p_field text DEFAULT '') RETURNS void
LANGUAGE plpgsql STABLE AS $$
DECLARE
    places smallint;
BEGIN
    SELECT decimals INTO places FROM assets WHERE asset = p_asset;
    IF places IS NULL THEN
        PERFORM refuse_input(p_field || 'asset_id', 'one of the known assets: '
            || (SELECT coalesce(string_agg(asset, ', ' ORDER BY asset), '(none)') FROM assets));
    END IF;
    IF p_amount <= 0 OR p_amount >= 1e20 OR p_amount = 'NaN' THEN
        PERFORM refuse_input(p_field || 'amount', 'a decimal above 0 and below 10^20');
    END IF;
    IF scale(trim_scale(p_amount)) > places THEN
        PERFORM refuse_input(p_field || 'amount', format('at most %s decimal places, as %s has', places, p_asset));
    END IF;
END $$;

-- What an entry's hash covers besides its predecessor: every field, by name.
CREATE FUNCTION entry_text(
    key text, line smallint, kind text, account bigint, version bigint, counter text,
    d_available numeric(38, 18), d_locked numeric(38, 18), d_transit numeric(38, 18),
    available_after numeric(38, 18), locked_after numeric(38, 18), at timestamptz
) RETURNS text
LANGUAGE sql STABLE AS $$
    SELECT jsonb_build_object(
        'key', key, 'line', line, 'kind', kind, 'account', account, 'version', version, 'counter', counter,
        'd_available', d_available::numeric(38, 18), 'd_locked', d_locked::numeric(38, 18),
        'd_transit', d_transit::numeric(38, 18), 'available_after', available_after::numeric(38, 18),
        'locked_after', locked_after::numeric(38, 18), 'at', extract(epoch FROM at))::text;
$$;

-- The account's own row lock is the serialization of its books across all processes.
CREATE FUNCTION post(
    p_key text, p_line int, p_kind text, p_account bigint, p_counter text,
    p_d_available numeric, p_d_locked numeric, p_d_transit numeric
) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    moment timestamptz := clock_timestamp();
    a      accounts;
BEGIN
    UPDATE accounts
       SET available = available + p_d_available,
           locked = locked + p_d_locked,
           version = version + 1,
           head = sha256(head || convert_to(entry_text(
               p_key, p_line::smallint, p_kind, id, version + 1, p_counter, p_d_available, p_d_locked, p_d_transit,
               available + p_d_available, locked + p_d_locked, moment), 'UTF8'))
     WHERE id = p_account
    RETURNING * INTO STRICT a;
    INSERT INTO entries (key, line, kind, account, version, counter, d_available, d_locked, d_transit,
                         available_after, locked_after, hash, at)
    VALUES (p_key, p_line, p_kind, p_account, a.version, p_counter, p_d_available, p_d_locked, p_d_transit,
            a.available, a.locked, a.head, moment);
END $$;

CREATE FUNCTION account_of(p_owner text, p_asset text) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    result bigint;
BEGIN
    SELECT id INTO result FROM accounts WHERE owner = p_owner AND asset = p_asset;
    IF result IS NULL THEN
        INSERT INTO accounts (owner, asset) VALUES (p_owner, p_asset) ON CONFLICT DO NOTHING;
        SELECT id INTO STRICT result FROM accounts WHERE owner = p_owner AND asset = p_asset;
    END IF;
    RETURN result;
END $$;

-- Row locks here are NO KEY locks: a row that refers to the account must not wait for its balance to be free.
-- Locks the account and refuses unless it may spend the amount.
CREATE FUNCTION lock_spendable(p_owner text, p_asset text, p_amount numeric) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    a accounts;
BEGIN
    SELECT * INTO a FROM accounts WHERE owner = p_owner AND asset = p_asset FOR NO KEY UPDATE;
    IF a.frozen_by IS NOT NULL THEN
        PERFORM refuse('BS003', format('the %s account of %s is frozen by %s', p_asset, p_owner, a.frozen_by),
                       jsonb_build_object('owner', p_owner, 'asset', p_asset, 'frozen_by', a.frozen_by));
    END IF;
    IF coalesce(a.available, 0) < p_amount THEN
        PERFORM refuse('BS002', format('%s has %s %s available, %s needed', p_owner,
                           trim_scale(coalesce(a.available, 0)), p_asset, trim_scale(p_amount)),
                       jsonb_build_object('owner', p_owner, 'asset', p_asset, 'needed', trim_scale(p_amount)::text,
                           'available', trim_scale(coalesce(a.available, 0))::text));
    END IF;
    RETURN a.id;
END $$;

CREATE FUNCTION emit(p_aggregate text, p_kind text, p_payload jsonb) RETURNS void
LANGUAGE sql AS $$
    INSERT INTO outbox (aggregate, kind, payload) VALUES (p_aggregate, p_kind, p_payload);
$$;

CREATE FUNCTION find(p_kind text, p_subject text, p_severity text, p_evidence jsonb) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = backstop, pg_temp AS $$
    INSERT INTO findings (kind, subject, severity, evidence) VALUES (p_kind, p_subject, p_severity, p_evidence)
    ON CONFLICT (kind, subject) WHERE state = 'open'
    DO UPDATE SET last_seen = clock_timestamp(), evidence = excluded.evidence;
$$;

CREATE FUNCTION refuse_rewriting() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% of % is refused: what was written stays', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'BS012';
END $$;

CREATE TRIGGER entries_stay BEFORE UPDATE OR DELETE ON entries
    FOR EACH ROW EXECUTE FUNCTION refuse_rewriting();
CREATE TRIGGER entries_stay_all BEFORE TRUNCATE ON entries
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_rewriting();
CREATE TRIGGER acts_stay BEFORE UPDATE OR DELETE ON operator_acts
    FOR EACH ROW EXECUTE FUNCTION refuse_rewriting();
CREATE TRIGGER acts_stay_all BEFORE TRUNCATE ON operator_acts
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_rewriting();
