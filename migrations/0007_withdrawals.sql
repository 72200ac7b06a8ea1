-- Withdrawals: payouts that a person asks for. They go only where the user's allow-list says, and a large one waits until
-- a second person has approved it. Nothing is debited before the workflow claims it.

SET LOCAL search_path = backstop, public;

-- Where a user's withdrawals may go. Written by operators only; the worker may read it.
CREATE TABLE destinations (
    owner    text NOT NULL CHECK (owner <> ''),
    asset    text NOT NULL,
    network  text NOT NULL,
    address  text NOT NULL,
    tag      text,
    added_by text NOT NULL CHECK (added_by <> ''),
    added_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    FOREIGN KEY (asset, network) REFERENCES networks (asset, network),
    UNIQUE NULLS NOT DISTINCT (owner, asset, network, address, tag)
);

-- Shares the row, so that a removal waits for the transition that has just relied on it, and the other way round.
CREATE FUNCTION refuse_unlisted_destination(p_owner text, p_asset text, p_network text, p_address text, p_tag text)
RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM destinations
      WHERE owner = p_owner AND asset = p_asset AND network = p_network AND address = p_address
        AND tag IS NOT DISTINCT FROM p_tag
        FOR SHARE;
    IF NOT FOUND THEN
        PERFORM refuse('BS014', format('%s on %s is not on the allow-list of %s for %s', p_address, p_network, p_owner,
                           p_asset),
                       jsonb_build_object('field', 'destination', 'owner', p_owner, 'asset', p_asset,
                           'network', p_network, 'address', p_address, 'tag', p_tag));
    END IF;
END $$;

CREATE FUNCTION destination_allow(
    p_owner text, p_asset text, p_network text, p_address text, p_tag text, p_operator text, p_evidence text
) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = backstop, pg_temp AS $$
BEGIN
    PERFORM refuse_bad_destination(p_asset, p_network, p_address, p_tag);
    INSERT INTO destinations (owner, asset, network, address, tag, added_by)
    VALUES (p_owner, p_asset, p_network, p_address, p_tag, p_operator)
    ON CONFLICT DO NOTHING;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    INSERT INTO operator_acts (act, subject, operator, evidence)
    VALUES ('allow destination', concat_ws('/', p_owner, p_asset, p_network, p_address, p_tag), p_operator, p_evidence);
    RETURN true;
END $$;

CREATE FUNCTION destination_remove(
    p_owner text, p_asset text, p_network text, p_address text, p_tag text, p_operator text, p_evidence text
) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = backstop, pg_temp AS $$
BEGIN
    DELETE FROM destinations
     WHERE owner = p_owner AND asset = p_asset AND network = p_network AND address = p_address
       AND tag IS NOT DISTINCT FROM p_tag;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    INSERT INTO operator_acts (act, subject, operator, evidence)
    VALUES ('remove destination', concat_ws('/', p_owner, p_asset, p_network, p_address, p_tag), p_operator, p_evidence);
    RETURN true;
END $$;

-- request: a withdrawal by name, nothing debited yet. It waits for an approval at or above the asset's threshold.
CREATE FUNCTION withdrawal_request(
    p_payout_id text, p_kind text, p_holder text, p_content jsonb, p_input jsonb, p_client_id text, p_owner text,
    p_requested_by text, p_asset text, p_amount numeric, p_network text, p_address text, p_tag text
) RETURNS payout_receipt
LANGUAGE plpgsql SECURITY DEFINER SET search_path = backstop, pg_temp AS $$
DECLARE
    p         payouts;
    v_venue   text;
    v_account bigint;
    v_event   text;
BEGIN
    SELECT * INTO p FROM payouts WHERE payout_id = p_payout_id FOR NO KEY UPDATE;
    IF p.payout_id IS NOT NULL THEN
        RETURN reopen_payout(p, p_holder, p_content);
    END IF;
    IF p_kind <> 'withdrawal' THEN
        PERFORM refuse_input('kind', 'withdrawal: a refund is opened at once');
    END IF;
    PERFORM refuse_bad_amount(p_asset, p_amount);
    v_venue := refuse_bad_destination(p_asset, p_network, p_address, p_tag);
    PERFORM refuse_unlisted_destination(p_owner, p_asset, p_network, p_address, p_tag);
    SELECT CASE WHEN p_amount >= approval_threshold THEN 'request_approval' ELSE 'request' END INTO v_event
      FROM assets WHERE asset = p_asset;
    v_account := account_of(p_owner, p_asset);
    INSERT INTO payouts (payout_id, kind, holder, content, input, owner, requested_by, asset, amount, network, address,
                         tag, venue, client_id, account, state, in_transit)
    VALUES (p_payout_id, p_kind, p_holder, p_content, p_input, p_owner, p_requested_by, p_asset, p_amount, p_network,
            p_address, p_tag, v_venue, p_client_id, v_account, next_state('payout', p_payout_id, 'absent', v_event), 0)
    ON CONFLICT DO NOTHING
    RETURNING * INTO p;
    IF p.payout_id IS NULL THEN
        SELECT * INTO STRICT p FROM payouts WHERE payout_id = p_payout_id FOR NO KEY UPDATE;
        RETURN reopen_payout(p, p_holder, p_content);
    END IF;
    PERFORM emit(p_payout_id, 'payout.' || p.state, jsonb_build_object('payout_id', p_payout_id, 'user_id', p_owner,
        'requested_by', p_requested_by, 'asset_id', p_asset, 'amount', trim_scale(p_amount)::text));
    RETURN receipt(p, true);
END $$;

-- approve / reject: the word of a second person, kept with name and time. The first word stands; the same again is
-- answered with the row as it is.
CREATE FUNCTION withdrawal_decide(p_payout_id text, p_approve boolean, p_operator text, p_evidence text)
RETURNS payout_receipt
LANGUAGE plpgsql SECURITY DEFINER SET search_path = backstop, pg_temp AS $$
DECLARE
    p       payouts := lock_payout(p_payout_id);
    v_event text := CASE WHEN p_approve THEN 'approve' ELSE 'reject' END;
BEGIN
    IF lower(trim(p_operator)) = lower(trim(p.requested_by)) THEN
        PERFORM refuse('BS015', format('%s asked for %s and can''t decide on it', p_operator, p_payout_id),
                       jsonb_build_object('field', 'operator', 'requested_by', p.requested_by));
    END IF;
    IF p.decided_by = p_operator AND p_approve = (p.state <> 'rejected') THEN
        RETURN receipt(p, false);
    END IF;
    PERFORM next_state('payout', p_payout_id, p.state, v_event);
    INSERT INTO operator_acts (act, subject, operator, evidence)
    VALUES (v_event || ' withdrawal', p_payout_id, p_operator, p_evidence);
    p.decided_by := p_operator;
    p.decided_at := clock_timestamp();
    p.reason := CASE WHEN NOT p_approve THEN format('rejected by %s: %s', p_operator, p_evidence) END;
    RETURN receipt(move_payout(p, v_event), true);
END $$;

-- expire: nobody decided in time. Answers with the row as it is when somebody did after all.
CREATE FUNCTION withdrawal_expire(p_payout_id text, p_holder text) RETURNS payout_receipt
LANGUAGE plpgsql SECURITY DEFINER SET search_path = backstop, pg_temp AS $$
DECLARE
    p payouts := lock_payout(p_payout_id);
BEGIN
    PERFORM refuse_other_holder(p, p_holder);
    IF p.state <> 'awaiting_approval' THEN
        RETURN receipt(p, false);
    END IF;
    p.reason := 'not approved in time';
    RETURN receipt(move_payout(p, 'expire'), true);
END $$;

-- claim: queued -> opened, user available -> in transit. The holder may come again; another is refused by name.
CREATE FUNCTION withdrawal_claim(p_payout_id text, p_holder text) RETURNS payout_receipt
LANGUAGE plpgsql SECURITY DEFINER SET search_path = backstop, pg_temp AS $$
DECLARE
    p payouts := lock_payout(p_payout_id);
BEGIN
    PERFORM refuse_other_holder(p, p_holder);
    IF p.state = 'abandoned' THEN
        PERFORM refuse('BS006', format('%s was ended before anything was sent (%s)', p_payout_id, p.reason),
                       jsonb_build_object('subject', p_payout_id, 'reason', p.reason));
    END IF;
    IF p.opened_at IS NOT NULL THEN
        RETURN receipt(p, false);
    END IF;
    PERFORM next_state('payout', p_payout_id, p.state, 'open');
    PERFORM lock_spendable(p.owner, p.asset, p.amount);
    PERFORM post(p_payout_id || '/open', 1, 'payout_open', p.account, NULL, -p.amount, 0, p.amount);
    p.opened_at := clock_timestamp();
    RETURN receipt(move_payout(p, 'open'), true);
END $$;
