-- How a payout goes out and ends: each send is an attempt, recorded before it is made; the money leaves by the venue's own
-- record, comes back on proof that nothing was sent, and waits for a person where there is neither.

SET LOCAL search_path = backstop, public;

-- A venue's slot (see 0014): the moment to sign and send, and how long that is from now. Not granted: how long to wait before asking again, and
-- why the venue is closed, if it is.
CREATE TYPE slot AS (granted boolean, at_ms bigint, wait_us bigint, interval_ms int, why text);

-- Leave to send once, in a slot; or not now, and nothing was recorded.
CREATE TYPE permit AS (
    granted boolean, attempt int, client_id text, signed_at_ms bigint, wait_us bigint, interval_ms int, why text
);

-- attempt: the one call before every send. Refused while an earlier attempt may still have an effect,
-- and for good once the venue has said no: a refusal is never sent again. Recorded together with its slot (see 0014):
-- while there is none, nothing is.
CREATE FUNCTION payout_attempt(
    p_payout_id text, p_holder text, p_recv_window_ms int, p_visibility_ms int, p_lane text
) RETURNS permit
LANGUAGE plpgsql SECURITY DEFINER SET search_path = backstop, pg_temp AS $$
DECLARE
    p       payouts := lock_payout(p_payout_id);
    live    payout_attempts;
    refused payout_attempts;
    frozen  text;
    v_next  int;
    s       slot;
    moment  timestamptz;
BEGIN
    PERFORM refuse_other_holder(p, p_holder);
    IF p.state = 'abandoned' THEN
        PERFORM refuse('BS006', format('%s was ended before anything was sent (%s)', p.payout_id, p.reason),
                       jsonb_build_object('subject', p.payout_id, 'reason', p.reason));
    END IF;
    PERFORM next_state('payout', p.payout_id, p.state, 'attempt');
    SELECT a.* INTO live FROM payout_attempts AS a
     WHERE a.payout_id = p_payout_id AND attempt_live(a.outcome) ORDER BY a.attempt LIMIT 1;
    IF live.attempt IS NOT NULL THEN
        PERFORM refuse('BS010', format('attempt %s of %s is %s: it may have taken effect', live.attempt, p.payout_id,
                           live.outcome),
                       jsonb_build_object('subject', p.payout_id, 'attempt', live.attempt, 'outcome', live.outcome));
    END IF;
    SELECT a.* INTO refused FROM payout_attempts AS a
     WHERE a.payout_id = p_payout_id AND a.outcome = 'rejected' ORDER BY a.attempt LIMIT 1;
    IF refused.attempt IS NOT NULL THEN
        PERFORM refuse('BS013', format('%s was refused by the venue: %s', p.payout_id, refused.detail),
                       jsonb_build_object('subject', p.payout_id, 'attempt', refused.attempt, 'reason', refused.detail));
    END IF;
    SELECT a.frozen_by INTO frozen FROM accounts AS a WHERE a.id = p.account FOR SHARE;
    IF frozen IS NOT NULL THEN
        PERFORM refuse('BS003', format('the %s account of %s is frozen by %s', p.asset, p.owner, frozen),
                       jsonb_build_object('owner', p.owner, 'asset', p.asset, 'frozen_by', frozen));
    END IF;
    IF p.kind = 'withdrawal' THEN
        PERFORM refuse_unlisted_destination(p.owner, p.asset, p.network, p.address, p.tag);
    END IF;
    s := take_slot_to_send(p.venue, NULL, p_lane);
    IF NOT s.granted THEN
        RETURN ROW(false, NULL, NULL, NULL, s.wait_us, s.interval_ms, s.why)::permit;
    END IF;
    moment := 'epoch'::timestamptz + s.at_ms * interval '1 ms';
    SELECT coalesce(max(a.attempt), 0) + 1 INTO v_next FROM payout_attempts AS a WHERE a.payout_id = p_payout_id;
    INSERT INTO payout_attempts (payout_id, attempt, signed_at, deadline, void_after)
    VALUES (p_payout_id, v_next, moment, moment + p_recv_window_ms * interval '1 ms',
            moment + (p_recv_window_ms + p_visibility_ms) * interval '1 ms');
    PERFORM move_payout(p, 'attempt');
    RETURN ROW(true, v_next, p.client_id, s.at_ms, s.wait_us, s.interval_ms, NULL)::permit;
END $$;

-- How an attempt ended. A fact is never refused, and a weaker one never replaces a stronger: what the table does not
-- allow changes nothing, but an acceptance that comes after a proof of absence is a critical finding.
CREATE FUNCTION payout_attempt_outcome(
    p_payout_id text, p_attempt int, p_event text, p_detail text, p_venue_reference text
) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = backstop, pg_temp AS $$
DECLARE
    p       payouts := lock_payout(p_payout_id);
    a       payout_attempts;
    v_next  text;
BEGIN
    IF p_event = 'vanish' THEN
        -- Absence is no fact that anybody saw: only a lookup that began late enough proves it.
        PERFORM refuse('BS009', format('only payout_attempts_vanish finds an attempt of %s absent', p_payout_id),
                       jsonb_build_object('subject', p_payout_id, 'event', p_event));
    END IF;
    SELECT x.* INTO a FROM payout_attempts AS x WHERE x.payout_id = p_payout_id AND x.attempt = p_attempt;
    IF a.attempt IS NULL THEN
        PERFORM refuse('BS008', format('%s has no attempt %s', p_payout_id, p_attempt),
                       jsonb_build_object('subject', p_payout_id, 'attempt', p_attempt));
    END IF;
    SELECT next INTO v_next FROM transitions WHERE machine = 'attempt' AND state = a.outcome AND event = p_event;
    IF v_next IS NOT NULL THEN
        UPDATE payout_attempts AS x
           SET outcome = v_next, detail = p_detail, venue_reference = p_venue_reference
         WHERE x.payout_id = p_payout_id AND x.attempt = p_attempt;
        IF p_event = 'accept' AND p.state = 'returned' THEN
            PERFORM find('payout_accepted_after_return', p_payout_id, 'critical',
                         jsonb_build_object('attempt', p_attempt, 'venue_reference', p_venue_reference));
        END IF;
        RETURN v_next;
    END IF;
    IF p_event = 'accept' AND NOT attempt_live(a.outcome) THEN
        PERFORM find('payout_accepted_after_void', p_payout_id, 'critical', jsonb_build_object(
            'attempt', p_attempt, 'outcome', a.outcome, 'state', p.state, 'venue_reference', p_venue_reference));
    END IF;
    RETURN a.outcome;
END $$;

-- A complete lookup that began at `p_looked_at_ms` (by this database's clock) found nothing: the attempts that could no
-- longer be hidden by then are void. Returns how many attempts are still live.
CREATE FUNCTION payout_attempts_vanish(p_payout_id text, p_looked_at_ms bigint) RETURNS int
LANGUAGE plpgsql SECURITY DEFINER SET search_path = backstop, pg_temp AS $$
DECLARE
    p payouts := lock_payout(p_payout_id);
BEGIN
    UPDATE payout_attempts
       SET outcome = 'absent', detail = concat_ws('; ', detail, 'not in the venue''s history')
     WHERE payout_id = p.payout_id AND outcome IN ('pending', 'unknown')
       AND extract(epoch FROM void_after) * 1000 < least(p_looked_at_ms, extract(epoch FROM clock_timestamp()) * 1000);
    RETURN (SELECT count(*) FROM payout_attempts WHERE payout_id = p.payout_id AND attempt_live(outcome));
END $$;

-- settle: in transit -> world and fees, by the venue's own record. Never refused for what the record says.
CREATE FUNCTION payout_settle(
    p_payout_id text, p_venue_reference text, p_received numeric, p_network_fee numeric, p_tx_id text
) RETURNS payout_receipt
LANGUAGE plpgsql SECURITY DEFINER SET search_path = backstop, pg_temp AS $$
DECLARE
    p payouts := lock_payout(p_payout_id);
BEGIN
    IF p.state = 'settled' THEN
        IF p.venue_reference IS DISTINCT FROM p_venue_reference THEN
            PERFORM find('payout_paid_twice', p.payout_id, 'critical', jsonb_build_object(
                'settled_by', p.venue_reference, 'paid_by', p_venue_reference, 'amount', trim_scale(p.amount)::text));
        END IF;
        RETURN receipt(p, false);
    END IF;
    IF p.state IN ('returned', 'abandoned', 'rejected', 'expired') THEN
        PERFORM find('payout_paid_after_return', p.payout_id, 'critical', jsonb_build_object(
            'state', p.state, 'venue_reference', p_venue_reference, 'amount', trim_scale(p.amount)::text));
        RETURN receipt(p, false);
    END IF;
    IF p_network_fee < 0 OR p_network_fee > p.amount OR p_received + p_network_fee IS DISTINCT FROM p.amount THEN
        PERFORM find('payout_amount_differs', p.payout_id, 'critical', jsonb_build_object(
            'amount', trim_scale(p.amount)::text, 'received', p_received::text, 'network_fee', p_network_fee::text));
    END IF;
    p.network_fee := least(greatest(p_network_fee, 0), p.amount);
    p.reason := NULL;
    p.venue_reference := p_venue_reference;
    p.tx_id := p_tx_id;
    -- Moved first: a transition that is not allowed must not have posted.
    p := move_payout(p, 'settle');
    IF p.amount > p.network_fee THEN
        PERFORM post(p_payout_id || '/settle', 1, 'payout_settle', p.account, 'world', 0, 0, p.network_fee - p.amount);
    END IF;
    IF p.network_fee > 0 THEN
        PERFORM post(p_payout_id || '/settle', 2, 'payout_fee', p.account, 'fees', 0, 0, -p.network_fee);
    END IF;
    RETURN receipt(p, true);
END $$;

-- return: in transit -> user. Only when every attempt is void, or the venue's record says that the withdrawal failed.
CREATE FUNCTION payout_return(p_payout_id text, p_reason text, p_failed_reference text) RETURNS payout_receipt
LANGUAGE plpgsql SECURITY DEFINER SET search_path = backstop, pg_temp AS $$
DECLARE
    p    payouts := lock_payout(p_payout_id);
    live int;
BEGIN
    IF p.state = 'returned' THEN
        RETURN receipt(p, false);
    END IF;
    SELECT attempt INTO live FROM payout_attempts
     WHERE payout_id = p_payout_id AND attempt_live(outcome)
       -- A failed record speaks for its own attempt, and for one that never gave its reference.
       AND (p_failed_reference IS NULL OR coalesce(venue_reference <> p_failed_reference, false))
     ORDER BY attempt LIMIT 1;
    IF live IS NOT NULL THEN
        PERFORM refuse('BS010', format('attempt %s of %s may have taken effect', live, p_payout_id),
                       jsonb_build_object('subject', p_payout_id, 'attempt', live));
    END IF;
    p.reason := p_reason;
    p.venue_reference := p_failed_reference;
    p := move_payout(p, 'return');
    PERFORM post(p_payout_id || '/return', 1, 'payout_return', p.account, NULL, p.amount, 0, -p.amount);
    RETURN receipt(p, true);
END $$;

-- escalate: nobody knows within the time allowed. The money stays in transit; a person is called.
CREATE FUNCTION payout_escalate(p_payout_id text, p_evidence text) RETURNS payout_receipt
LANGUAGE plpgsql SECURITY DEFINER SET search_path = backstop, pg_temp AS $$
DECLARE
    p payouts := lock_payout(p_payout_id);
BEGIN
    IF p.state IN ('needs_operator', 'settled', 'returned') THEN
        RETURN receipt(p, false);
    END IF;
    PERFORM find('payout_unconfirmed', p.payout_id, 'warning', jsonb_build_object(
        'user_id', p.owner, 'asset_id', p.asset, 'amount', trim_scale(p.amount)::text, 'evidence', p_evidence));
    p.reason := p_evidence;
    RETURN receipt(move_payout(p, 'escalate'), true);
END $$;

-- resolve: an operator says on the record what the venue could not. Not before the venue has been asked at
-- `p_looked_at_ms` (by this database's clock), with every attempt's time over by then.
CREATE FUNCTION payout_resolve(
    p_payout_id text, p_executed boolean, p_operator text, p_evidence text, p_venue_reference text, p_network_fee numeric,
    p_looked_at_ms bigint
) RETURNS payout_receipt
LANGUAGE plpgsql SECURITY DEFINER SET search_path = backstop, pg_temp AS $$
DECLARE
    p     payouts := lock_payout(p_payout_id);
    until timestamptz;
BEGIN
    IF p_executed IS NULL THEN
        PERFORM refuse_input('outcome', 'executed or not_executed');
    END IF;
    IF p.state IN ('settled', 'returned') AND (p.state = 'settled') = p_executed THEN
        RETURN receipt(p, false);
    END IF;
    PERFORM next_state('payout', p_payout_id, p.state, CASE WHEN p_executed THEN 'settle' ELSE 'return' END);
    IF p.state <> 'needs_operator' THEN
        PERFORM refuse('BS009', format('%s is %s and waits for no operator', p_payout_id, p.state),
                       jsonb_build_object('subject', p_payout_id, 'state', p.state, 'event', 'resolve'));
    END IF;
    IF p_network_fee > p.amount THEN
        PERFORM refuse_input('network_fee', format('at most the amount, %s', trim_scale(p.amount)));
    END IF;
    SELECT max(void_after) INTO until FROM payout_attempts WHERE payout_id = p_payout_id AND attempt_live(outcome);
    IF extract(epoch FROM until) * 1000 >= least(p_looked_at_ms, extract(epoch FROM clock_timestamp()) * 1000) THEN
        PERFORM refuse('BS011', format('an attempt of %s may still take effect until %s', p_payout_id, until),
                       jsonb_build_object('subject', p_payout_id, 'until', until));
    END IF;
    INSERT INTO operator_acts (act, subject, operator, evidence)
    VALUES (CASE WHEN p_executed THEN 'resolve executed' ELSE 'resolve not executed' END, p_payout_id, p_operator,
            p_evidence);
    IF p_executed THEN
        RETURN payout_settle(p_payout_id, p_venue_reference, p.amount - p_network_fee, p_network_fee, NULL);
    END IF;
    UPDATE payout_attempts SET outcome = 'absent', detail = concat_ws('; ', detail, 'not executed, says ' || p_operator)
     WHERE payout_id = p_payout_id AND attempt_live(outcome);
    RETURN payout_return(p_payout_id, 'resolved as not executed by ' || p_operator, NULL);
END $$;
