-- What only a person does: correct a balance, freeze an account, lift a freeze. Each is on the record.

SET LOCAL search_path = backstop, public;

CREATE TABLE adjustments (
    adjustment_id text PRIMARY KEY CHECK (adjustment_id <> ''),
    content       jsonb NOT NULL,
    at            timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- adjust: user available +/- against the counter `adjustment`, the only entry that belongs to no business row.
CREATE FUNCTION adjustment_post(
    p_id text, p_operator text, p_evidence text, p_owner text, p_asset text, p_delta numeric
) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = backstop, pg_temp AS $$
DECLARE
    v_content jsonb := jsonb_build_object('user_id', p_owner, 'asset_id', p_asset, 'delta', trim_scale(p_delta)::text,
                                          'operator', p_operator, 'evidence', p_evidence);
    v_found   jsonb;
BEGIN
    INSERT INTO adjustments (adjustment_id, content) VALUES (p_id, v_content) ON CONFLICT DO NOTHING;
    IF NOT FOUND THEN
        SELECT content INTO STRICT v_found FROM adjustments WHERE adjustment_id = p_id;
        PERFORM refuse_other_content('adjustment/' || p_id, v_found, v_content);
        RETURN false;
    END IF;
    PERFORM refuse_bad_amount(p_asset, abs(p_delta));
    IF p_delta < 0 THEN
        PERFORM lock_spendable(p_owner, p_asset, -p_delta);
    END IF;
    INSERT INTO operator_acts (act, subject, operator, evidence)
    VALUES ('adjust', format('%s/%s %s', p_owner, p_asset, trim_scale(p_delta)), p_operator, p_evidence);
    PERFORM post('adjustment/' || p_id, 1, 'adjustment', account_of(p_owner, p_asset), 'adjustment', p_delta, 0, 0);
    PERFORM emit('adjustment/' || p_id, 'adjustment.posted', v_content);
    RETURN true;
END $$;

-- A frozen account opens, reserves and attempts nothing; facts are still booked. The first freeze stays.
CREATE FUNCTION account_freeze(p_owner text, p_asset text, p_by text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = backstop, pg_temp AS $$
DECLARE
    -- Looked up before the update: an update does not see an account that is made while it runs.
    v_account bigint := account_of(p_owner, p_asset);
BEGIN
    IF coalesce(p_by, '') = '' THEN
        PERFORM refuse_input('by', 'the finding or the person that freezes');
    END IF;
    UPDATE accounts SET frozen_by = p_by WHERE id = v_account AND frozen_by IS NULL;
    IF FOUND THEN
        PERFORM emit(format('account/%s/%s', p_owner, p_asset), 'account.frozen', jsonb_build_object('by', p_by));
    END IF;
    RETURN FOUND;
END $$;

CREATE FUNCTION account_unfreeze(p_owner text, p_asset text, p_operator text, p_evidence text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = backstop, pg_temp AS $$
BEGIN
    IF coalesce(p_operator, '') = '' THEN
        PERFORM refuse_input('by', 'who decides this');
    END IF;
    IF coalesce(p_evidence, '') = '' THEN
        PERFORM refuse_input('reason', 'why');
    END IF;
    UPDATE accounts SET frozen_by = NULL WHERE owner = p_owner AND asset = p_asset AND frozen_by IS NOT NULL;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    INSERT INTO operator_acts (act, subject, operator, evidence)
    VALUES ('unfreeze', format('%s/%s', p_owner, p_asset), p_operator, p_evidence);
    PERFORM emit(format('account/%s/%s', p_owner, p_asset), 'account.unfrozen', jsonb_build_object('by', p_operator));
    RETURN true;
END $$;

CREATE TRIGGER adjustments_stay BEFORE UPDATE OR DELETE ON adjustments
    FOR EACH ROW EXECUTE FUNCTION refuse_rewriting();
