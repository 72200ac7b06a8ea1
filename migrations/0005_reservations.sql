-- Reservations: money of a user that is set aside (available -> locked) for one holder until it is released.

SET LOCAL search_path = backstop, public;

INSERT INTO transitions (machine, state, event, next) VALUES
    ('reservation', 'absent', 'open', 'open'),
    ('reservation', 'absent', 'release', 'abandoned'),
    ('reservation', 'open', 'release', 'released');

CREATE TABLE reservations (
    reservation_id text PRIMARY KEY,
    holder         text NOT NULL CHECK (holder <> ''),
    content        jsonb NOT NULL,
    account        bigint REFERENCES accounts,
    amount         numeric(38, 18) NOT NULL CHECK (amount > 0),
    remaining      numeric(38, 18) NOT NULL CHECK (remaining BETWEEN 0 AND amount),
    -- What a release gave back; the rest was spent.
    released       numeric(38, 18) NOT NULL DEFAULT 0 CHECK (released BETWEEN 0 AND amount),
    strategy_key   text,
    state          text NOT NULL CHECK (state IN ('open', 'released', 'abandoned')),
    CHECK (remaining = 0 OR state = 'open'),
    CHECK (account IS NOT NULL OR state = 'abandoned')
);
CREATE INDEX reservations_of_strategy ON reservations (strategy_key) WHERE state = 'open';

CREATE TYPE reservation_receipt AS (applied boolean, reservation_id text, state text, remaining text);

CREATE FUNCTION refuse_other_reservation(r reservations, p_holder text, p_content jsonb) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM refuse_other_content(r.reservation_id, r.content, p_content);
    IF r.holder <> p_holder THEN
        PERFORM refuse('BS005', format('%s is held by %s', r.reservation_id, r.holder),
                       jsonb_build_object('subject', r.reservation_id, 'holder', r.holder));
    END IF;
END $$;

CREATE FUNCTION reopen_reservation(r reservations, p_holder text, p_content jsonb) RETURNS reservation_receipt
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM refuse_other_reservation(r, p_holder, p_content);
    IF r.state = 'abandoned' THEN
        PERFORM refuse('BS006', format('%s was released before it was opened; use a new id', r.reservation_id),
                       jsonb_build_object('subject', r.reservation_id, 'reason', 'released before it was opened'));
    END IF;
    RETURN ROW(false, r.reservation_id, r.state, trim_scale(r.remaining)::text)::reservation_receipt;
END $$;

-- Reservations of deposits and orders come and go with them, and by no other call.
CREATE FUNCTION refuse_reservation_of_another(p_id text) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    IF p_id ~ '^(deposit|order)/' THEN
        PERFORM refuse_input('reservation_id', 'an id that does not begin with deposit/ or order/');
    END IF;
END $$;

-- put: user available -> locked. Where it does not ask, it refuses nothing: for what a fact has just brought in.
CREATE FUNCTION reservation_put(
    p_id text, p_holder text, p_owner text, p_asset text, p_amount numeric, p_strategy_key text DEFAULT NULL,
    p_asks boolean DEFAULT false
) RETURNS reservation_receipt
LANGUAGE plpgsql AS $$
DECLARE
    v_content jsonb := jsonb_build_object('user_id', p_owner, 'asset_id', p_asset, 'amount', trim_scale(p_amount)::text);
    v_account bigint;
    r         reservations;
BEGIN
    SELECT * INTO r FROM reservations WHERE reservation_id = p_id FOR NO KEY UPDATE;
    IF r.reservation_id IS NOT NULL THEN
        RETURN reopen_reservation(r, p_holder, v_content);
    END IF;
    IF p_asks THEN
        PERFORM refuse_bad_amount(p_asset, p_amount);
    END IF;
    -- Made where there is none: the refusal that follows unmakes it, unless somebody's deposit comes first.
    v_account := account_of(p_owner, p_asset);
    INSERT INTO reservations (reservation_id, holder, content, account, amount, remaining, strategy_key, state)
    VALUES (p_id, p_holder, v_content, v_account, p_amount, p_amount, p_strategy_key,
            next_state('reservation', p_id, 'absent', 'open'))
    ON CONFLICT DO NOTHING RETURNING * INTO r;
    IF r.reservation_id IS NULL THEN
        SELECT * INTO STRICT r FROM reservations WHERE reservation_id = p_id FOR NO KEY UPDATE;
        RETURN reopen_reservation(r, p_holder, v_content);
    END IF;
    IF p_asks THEN
        PERFORM lock_spendable(p_owner, p_asset, p_amount);
    END IF;
    PERFORM post('reservation/' || p_id || '/open', 1, 'reservation_open', v_account, NULL, -p_amount, p_amount, 0);
    PERFORM emit('reservation/' || p_id, 'reservation.opened', v_content);
    RETURN ROW(true, p_id, r.state, trim_scale(r.remaining)::text)::reservation_receipt;
END $$;

-- open: user available -> locked, if the account may spend it.
CREATE FUNCTION reservation_open(p_id text, p_holder text, p_owner text, p_asset text, p_amount numeric)
RETURNS reservation_receipt
LANGUAGE sql SECURITY DEFINER SET search_path = backstop, pg_temp AS $$
    SELECT refuse_reservation_of_another(p_id);
    SELECT reservation_put(p_id, p_holder, p_owner, p_asset, p_amount, NULL, true);
$$;

-- Gives back what remains of an open reservation: locked -> user available. Returns whether it was open.
CREATE FUNCTION reservation_give_back(p_id text) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
    r reservations;
BEGIN
    SELECT * INTO STRICT r FROM reservations WHERE reservation_id = p_id FOR NO KEY UPDATE;
    IF r.state <> 'open' THEN
        RETURN false;
    END IF;
    IF r.remaining > 0 THEN
        PERFORM post('reservation/' || p_id || '/release', 1, 'reservation_release', r.account, NULL,
                     r.remaining, -r.remaining, 0);
    END IF;
    UPDATE reservations SET released = r.remaining, remaining = 0, state = next_state('reservation', p_id, r.state, 'release')
     WHERE reservation_id = p_id;
    PERFORM emit('reservation/' || p_id, 'reservation.released', r.content);
    RETURN true;
END $$;

-- release: what remains locked -> user available; a tombstone where nothing was opened.
CREATE FUNCTION reservation_release(p_id text, p_holder text, p_owner text, p_asset text, p_amount numeric)
RETURNS reservation_receipt
LANGUAGE plpgsql SECURITY DEFINER SET search_path = backstop, pg_temp AS $$
DECLARE
    v_content jsonb := jsonb_build_object('user_id', p_owner, 'asset_id', p_asset, 'amount', trim_scale(p_amount)::text);
    r         reservations;
BEGIN
    PERFORM refuse_reservation_of_another(p_id);
    INSERT INTO reservations (reservation_id, holder, content, amount, remaining, state)
    VALUES (p_id, p_holder, v_content, p_amount, 0, next_state('reservation', p_id, 'absent', 'release'))
    ON CONFLICT DO NOTHING RETURNING * INTO r;
    IF r.reservation_id IS NOT NULL THEN
        PERFORM emit('reservation/' || p_id, 'reservation.abandoned', v_content);
        RETURN ROW(true, p_id, r.state, '0')::reservation_receipt;
    END IF;
    SELECT * INTO STRICT r FROM reservations WHERE reservation_id = p_id FOR NO KEY UPDATE;
    PERFORM refuse_other_reservation(r, p_holder, v_content);
    IF reservation_give_back(p_id) THEN
        RETURN ROW(true, p_id, 'released', '0')::reservation_receipt;
    END IF;
    RETURN ROW(false, p_id, r.state, '0')::reservation_receipt;
END $$;

CREATE TRIGGER reservations_stay BEFORE DELETE ON reservations FOR EACH ROW EXECUTE FUNCTION refuse_rewriting();
