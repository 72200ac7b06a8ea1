-- Payouts: money that leaves a user through a venue: refunds, which open at once, and withdrawals, which are requested,
-- perhaps wait for an approval, and are opened when their workflow claims them (see 0007).
-- The row is the state machine; each transition is one function, one commit, and posts its own entries.
-- The first recorded attempt is the pivot: past it the money comes back only on proof that nothing was sent.

SET LOCAL search_path = backstop, public;

INSERT INTO transitions (machine, state, event, next) VALUES
    ('payout', 'absent', 'open', 'opened'),
    ('payout', 'absent', 'abandon', 'abandoned'),
    ('payout', 'absent', 'request', 'queued'),
    ('payout', 'absent', 'request_approval', 'awaiting_approval'),
    ('payout', 'awaiting_approval', 'approve', 'queued'),
    ('payout', 'awaiting_approval', 'reject', 'rejected'),
    ('payout', 'awaiting_approval', 'expire', 'expired'),
    ('payout', 'awaiting_approval', 'abandon', 'abandoned'),
    ('payout', 'queued', 'open', 'opened'),
    ('payout', 'queued', 'abandon', 'abandoned'),
    ('payout', 'opened', 'abandon', 'abandoned'),
    ('payout', 'opened', 'attempt', 'attempted'),
    ('payout', 'attempted', 'attempt', 'attempted'),
    ('payout', 'attempted', 'settle', 'settled'),
    ('payout', 'attempted', 'return', 'returned'),
    ('payout', 'attempted', 'escalate', 'needs_operator'),
    ('payout', 'needs_operator', 'settle', 'settled'),
    ('payout', 'needs_operator', 'return', 'returned'),
    ('attempt', 'pending', 'accept', 'accepted'),
    ('attempt', 'pending', 'reject', 'rejected'),
    ('attempt', 'pending', 'not_send', 'not_sent'),
    ('attempt', 'pending', 'lose', 'unknown'),
    ('attempt', 'pending', 'vanish', 'absent'),
    ('attempt', 'unknown', 'accept', 'accepted'),
    ('attempt', 'unknown', 'vanish', 'absent');

CREATE TABLE payouts (
    payout_id       text PRIMARY KEY,
    kind            text NOT NULL CHECK (kind IN ('refund', 'withdrawal')),
    holder          text NOT NULL CHECK (holder <> ''),
    content         jsonb NOT NULL,
    -- What its workflow was started with, so that it can be started again.
    input           jsonb NOT NULL,
    owner           text NOT NULL,
    requested_by    text,
    asset           text NOT NULL,
    amount          numeric(38, 18) NOT NULL CHECK (amount > 0),
    network         text NOT NULL,
    address         text NOT NULL,
    tag             text,
    venue           text,
    client_id       text NOT NULL UNIQUE,
    account         bigint REFERENCES accounts,
    state           text NOT NULL CHECK (state IN (
                        'awaiting_approval', 'queued', 'opened', 'attempted', 'needs_operator',
                        'settled', 'returned', 'abandoned', 'rejected', 'expired')),
    decided_by      text,
    decided_at      timestamptz,
    in_transit      numeric(38, 18) NOT NULL CHECK (in_transit >= 0),
    reason          text,
    venue_reference text,
    network_fee     numeric(38, 18) CHECK (network_fee BETWEEN 0 AND amount),
    tx_id           text,
    version         bigint NOT NULL DEFAULT 1,
    created_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- When the money left the user's balance, if it ever did.
    opened_at       timestamptz,
    changed_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    CHECK (in_transit = CASE WHEN state IN ('opened', 'attempted', 'needs_operator') THEN amount ELSE 0 END),
    CHECK (opened_at IS NOT NULL OR state NOT IN ('opened', 'attempted', 'needs_operator', 'settled', 'returned')),
    CHECK (opened_at IS NULL OR state NOT IN ('awaiting_approval', 'queued', 'rejected', 'expired')),
    CHECK (account IS NOT NULL AND venue IS NOT NULL OR state = 'abandoned'),
    CHECK ((kind = 'withdrawal') = (requested_by IS NOT NULL)),
    -- Four eyes: nobody decides on what they have asked for.
    CHECK (lower(trim(decided_by)) <> lower(trim(requested_by))),
    CHECK ((decided_by IS NULL) = (decided_at IS NULL)),
    CHECK (decided_by IS NOT NULL OR state <> 'rejected'),
    CHECK ((state = 'settled') = (network_fee IS NOT NULL))
);
CREATE INDEX payouts_unfinished ON payouts (changed_at)
 WHERE state IN ('awaiting_approval', 'queued', 'opened', 'attempted', 'needs_operator');

-- One send to the venue. It may still take effect until `deadline` (the venue refuses it afterwards), and its record
-- may still be hidden until `void_after`.
CREATE TABLE payout_attempts (
    payout_id       text NOT NULL REFERENCES payouts,
    attempt         int NOT NULL CHECK (attempt > 0),
    signed_at       timestamptz NOT NULL,
    deadline        timestamptz NOT NULL CHECK (deadline > signed_at),
    void_after      timestamptz NOT NULL CHECK (void_after >= deadline),
    outcome         text NOT NULL DEFAULT 'pending'
                    CHECK (outcome IN ('pending', 'accepted', 'rejected', 'not_sent', 'unknown', 'absent')),
    detail          text,
    venue_reference text,
    PRIMARY KEY (payout_id, attempt)
);

-- True while the attempt may have had, or may still have, an effect.
CREATE FUNCTION attempt_live(outcome text) RETURNS boolean
LANGUAGE sql IMMUTABLE AS $$ SELECT outcome IN ('pending', 'unknown', 'accepted') $$;

CREATE TYPE payout_receipt AS (
    applied boolean, payout_id text, holder text, owner text, asset text, amount text, network text, address text,
    tag text, venue text, client_id text, state text, in_transit text, reason text, venue_reference text,
    network_fee text, tx_id text, decided_by text
);

CREATE FUNCTION receipt(p payouts, applied boolean) RETURNS payout_receipt
LANGUAGE sql STABLE AS $$
    SELECT ROW(applied, p.payout_id, p.holder, p.owner, p.asset, trim_scale(p.amount)::text, p.network, p.address,
               p.tag, p.venue, p.client_id, p.state, trim_scale(p.in_transit)::text, p.reason, p.venue_reference,
               trim_scale(p.network_fee)::text, p.tx_id, p.decided_by)::payout_receipt;
$$;

CREATE FUNCTION lock_payout(p_payout_id text) RETURNS payouts
LANGUAGE plpgsql AS $$
DECLARE
    p payouts;
BEGIN
    SELECT * INTO p FROM payouts WHERE payout_id = p_payout_id FOR NO KEY UPDATE;
    IF p.payout_id IS NULL THEN
        PERFORM refuse('BS008', format('there is no payout %s', p_payout_id), jsonb_build_object('subject', p_payout_id));
    END IF;
    RETURN p;
END $$;

CREATE FUNCTION refuse_other_holder(p payouts, p_holder text) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    IF p.holder <> p_holder THEN
        PERFORM refuse('BS005', format('%s is held by workflow %s', p.payout_id, p.holder),
                       jsonb_build_object('subject', p.payout_id, 'holder', p.holder));
    END IF;
END $$;

-- Writes the new state with its event; the caller posts what belongs to it, in the same commit.
CREATE FUNCTION move_payout(p payouts, p_event text) RETURNS payouts
LANGUAGE plpgsql AS $$
BEGIN
    p.state := next_state('payout', p.payout_id, p.state, p_event);
    p.in_transit := CASE WHEN p.state IN ('opened', 'attempted', 'needs_operator') THEN p.amount ELSE 0 END;
    UPDATE payouts
       SET state = p.state, in_transit = p.in_transit, reason = p.reason, venue_reference = p.venue_reference,
           network_fee = p.network_fee, tx_id = p.tx_id, decided_by = p.decided_by, decided_at = p.decided_at,
           opened_at = p.opened_at, version = version + 1, changed_at = clock_timestamp()
     WHERE payout_id = p.payout_id
    RETURNING * INTO p;
    IF p.state IN ('settled', 'returned') THEN
        UPDATE findings SET state = 'closed', last_seen = clock_timestamp()
         WHERE kind = 'payout_unconfirmed' AND subject = p.payout_id AND state = 'open';
    END IF;
    PERFORM emit(p.payout_id, 'payout.' || p.state, jsonb_strip_nulls(jsonb_build_object(
        'payout_id', p.payout_id, 'user_id', p.owner, 'asset_id', p.asset, 'amount', trim_scale(p.amount)::text,
        'decided_by', p.decided_by, 'reason', p.reason, 'venue_reference', p.venue_reference, 'network_fee', trim_scale(p.network_fee)::text)));
    RETURN p;
END $$;

-- What a repeat of `open` finds: the same content of the same holder is answered with the row as it is; another
-- holder is answered only when the payout is over.
CREATE FUNCTION reopen_payout(p payouts, p_holder text, p_content jsonb) RETURNS payout_receipt
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM refuse_other_content(p.payout_id, p.content, p_content);
    IF p.state = 'abandoned' THEN
        PERFORM refuse('BS006', format('%s was ended before anything was sent (%s); use a new id', p.payout_id, p.reason),
                       jsonb_build_object('subject', p.payout_id, 'reason', p.reason));
    END IF;
    IF p.state NOT IN ('settled', 'returned', 'rejected', 'expired') THEN
        PERFORM refuse_other_holder(p, p_holder);
    END IF;
    RETURN receipt(p, false);
END $$;

-- Returns the venue that pays out there. `p_field` is what the caller calls the destination.
CREATE FUNCTION refuse_bad_destination(
    p_asset text, p_network text, p_address text, p_tag text, p_field text DEFAULT 'destination'
) RETURNS text
LANGUAGE plpgsql STABLE AS $$
DECLARE
    n networks;
BEGIN
    SELECT * INTO n FROM networks WHERE asset = p_asset AND network = p_network;
    IF n.network IS NULL THEN
        PERFORM refuse_input(p_field || '.network', format('a network that pays out %s: %s', p_asset,
            (SELECT coalesce(string_agg(network, ', ' ORDER BY network), '(none)') FROM networks WHERE asset = p_asset)));
    END IF;
    IF p_address !~ n.address_pattern THEN
        PERFORM refuse_input(p_field || '.address', format('a valid %s address', p_network));
    END IF;
    IF p_tag IS NOT NULL AND (n.tag_pattern IS NULL OR p_tag !~ n.tag_pattern) THEN
        PERFORM refuse_input(p_field || '.tag', CASE WHEN n.tag_pattern IS NULL
            THEN format('none: %s has no tags', p_network) ELSE format('a valid %s tag', p_network) END);
    END IF;
    RETURN n.venue;
END $$;

-- open: user available -> in transit. What a deposit has set aside for this very refund pays for it (see 0008).
CREATE FUNCTION payout_open(
    p_payout_id text, p_kind text, p_holder text, p_content jsonb, p_input jsonb, p_client_id text, p_owner text,
    p_requested_by text, p_asset text, p_amount numeric, p_network text, p_address text, p_tag text
) RETURNS payout_receipt
LANGUAGE plpgsql SECURITY DEFINER SET search_path = backstop, pg_temp AS $$
DECLARE
    p        payouts;
    v_venue  text;
    v_account bigint;
BEGIN
    SELECT * INTO p FROM payouts WHERE payout_id = p_payout_id FOR NO KEY UPDATE;
    IF p.payout_id IS NOT NULL THEN
        RETURN reopen_payout(p, p_holder, p_content);
    END IF;
    IF p_kind <> 'refund' THEN
        PERFORM refuse_input('kind', 'refund: a withdrawal is requested first');
    END IF;
    PERFORM refuse_bad_amount(p_asset, p_amount);
    v_venue := refuse_bad_destination(p_asset, p_network, p_address, p_tag);
    -- Made where there is none: the refusal that follows unmakes it, unless somebody's deposit comes first.
    v_account := account_of(p_owner, p_asset);
    INSERT INTO payouts (payout_id, kind, holder, content, input, owner, asset, amount, network, address, tag, venue,
                         client_id, account, state, in_transit, opened_at)
    VALUES (p_payout_id, p_kind, p_holder, p_content, p_input, p_owner, p_asset, p_amount, p_network, p_address, p_tag,
            v_venue, p_client_id, v_account, next_state('payout', p_payout_id, 'absent', 'open'), p_amount,
            clock_timestamp())
    -- Any conflict: of two that open it at once, the later one may meet the client id's index first.
    ON CONFLICT DO NOTHING
    RETURNING * INTO p;
    IF p.payout_id IS NULL THEN
        -- Another process opened it between our look and our insert; its commit is what we wait for here.
        SELECT * INTO STRICT p FROM payouts WHERE payout_id = p_payout_id FOR NO KEY UPDATE;
        RETURN reopen_payout(p, p_holder, p_content);
    END IF;
    PERFORM release_for_refund(p_payout_id, p_content);
    PERFORM lock_spendable(p_owner, p_asset, p_amount);
    PERFORM post(p_payout_id || '/open', 1, 'payout_open', v_account, NULL, -p_amount, 0, p_amount);
    PERFORM emit(p_payout_id, 'payout.opened', jsonb_build_object(
        'payout_id', p_payout_id, 'user_id', p_owner, 'asset_id', p_asset, 'amount', trim_scale(p_amount)::text));
    RETURN receipt(p, true);
END $$;

-- abandon: the only undo. Leaves a tombstone where nothing was opened, so that a late open can never apply.
CREATE FUNCTION payout_abandon(
    p_payout_id text, p_kind text, p_holder text, p_content jsonb, p_input jsonb, p_client_id text, p_owner text,
    p_requested_by text, p_asset text, p_amount numeric, p_network text, p_address text, p_tag text, p_reason text
) RETURNS payout_receipt
LANGUAGE plpgsql SECURITY DEFINER SET search_path = backstop, pg_temp AS $$
DECLARE
    p payouts;
BEGIN
    INSERT INTO payouts (payout_id, kind, holder, content, input, owner, requested_by, asset, amount, network, address,
                         tag, client_id, state, in_transit, reason)
    VALUES (p_payout_id, p_kind, p_holder, p_content, p_input, p_owner, p_requested_by, p_asset, p_amount, p_network,
            p_address, p_tag, p_client_id, next_state('payout', p_payout_id, 'absent', 'abandon'), 0, p_reason)
    ON CONFLICT DO NOTHING
    RETURNING * INTO p;
    IF p.payout_id IS NOT NULL THEN
        PERFORM emit(p_payout_id, 'payout.abandoned', jsonb_build_object('payout_id', p_payout_id, 'user_id', p_owner,
            'asset_id', p_asset, 'amount', trim_scale(p_amount)::text, 'reason', p_reason));
        PERFORM keep_refused_refund(p);
        RETURN receipt(p, true);
    END IF;
    p := lock_payout(p_payout_id);
    PERFORM refuse_other_content(p.payout_id, p.content, p_content);
    PERFORM refuse_other_holder(p, p_holder);
    IF p.state IN ('abandoned', 'rejected', 'expired') THEN
        RETURN receipt(p, false);
    END IF;
    IF p.state NOT IN ('awaiting_approval', 'queued', 'opened') THEN
        PERFORM refuse('BS007', format('%s is %s: it may have been sent', p.payout_id, p.state),
                       jsonb_build_object('subject', p.payout_id, 'state', p.state));
    END IF;
    p.reason := p_reason;
    -- Its rows before the account.
    PERFORM keep_refused_refund(p);
    IF p.state = 'opened' THEN
        PERFORM post(p_payout_id || '/abandon', 1, 'payout_abandon', p.account, NULL, p.amount, 0, -p.amount);
    END IF;
    RETURN receipt(move_payout(p, 'abandon'), true);
END $$;

CREATE TRIGGER payouts_stay BEFORE DELETE ON payouts FOR EACH ROW EXECUTE FUNCTION refuse_rewriting();
CREATE TRIGGER attempts_stay BEFORE DELETE ON payout_attempts FOR EACH ROW EXECUTE FUNCTION refuse_rewriting();
