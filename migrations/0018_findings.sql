-- Findings: what a check of reconciliation sees becomes a finding, which closes by itself when it is gone. A critical one freezes the
-- account concerned.

SET LOCAL search_path = backstop, public;

-- One thing that should not be. The account is the one concerned, if there is one; of two assets (`BTC/USDT`) both are.
CREATE TYPE deviation AS (
    kind text, subject text, severity text, measure text, owner text, asset text, evidence jsonb
);

-- Whoever follows the findings learns of each once when it opens, and once when it closes.
CREATE FUNCTION finding_event() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = backstop, pg_temp AS $$
BEGIN
    PERFORM emit(format('finding/%s/%s', NEW.kind, NEW.subject),
                 CASE NEW.state WHEN 'open' THEN 'finding.opened' ELSE 'finding.closed' END,
                 jsonb_build_object('id', NEW.id, 'kind', NEW.kind, 'subject', NEW.subject, 'severity', NEW.severity,
                                    'evidence', NEW.evidence));
    RETURN NULL;
END $$;
CREATE TRIGGER findings_open_event AFTER INSERT ON findings FOR EACH ROW EXECUTE FUNCTION finding_event();
CREATE TRIGGER findings_close_event AFTER UPDATE OF state ON findings
    FOR EACH ROW WHEN (OLD.state <> NEW.state) EXECUTE FUNCTION finding_event();
CREATE TRIGGER findings_stay BEFORE DELETE ON findings FOR EACH ROW EXECUTE FUNCTION refuse_rewriting();

-- Takes down what a check has come to: opens or refreshes a finding for each deviation, and closes those of the same check
-- that are gone: those that it looked far enough back for, first seen since `p_closes_from_ms` (null: none), or that somebody
-- answers for, unless what it saw of them is not certain, or another look has seen them since this one began (`p_began_us`). A
-- critical one freezes its account, once; when so many of a run have, it is not single accounts that are wrong: everything is
-- halted, and the next runs freeze the others. Said again, it changes nothing.
CREATE FUNCTION findings_report(
    p_check text, p_run text, p_closes_from_ms bigint, p_began_us bigint, p_deviations jsonb, p_unclear jsonb, p_freezes_max int
) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = backstop, pg_temp AS $$
DECLARE
    d        record;
    v_id     bigint;
    v_new    boolean;
    v_froze  boolean;
    v_warm   text[];
    v_asset  text;
    v_opened int := 0;
    v_frozen int := 0;
    v_beyond int := 0;
    v_closed int := 0;
BEGIN
    -- One report of a check at a time.
    PERFORM pg_advisory_xact_lock(hashtextextended('findings of ' || p_check, 0));
    FOR d IN
        SELECT * FROM jsonb_populate_recordset(NULL::deviation, p_deviations) ORDER BY kind, subject
    LOOP
        -- One that a transition has told of first is this check's from now on.
        INSERT INTO findings AS f (kind, subject, severity, evidence, found_by, measure)
        VALUES (d.kind, d.subject, d.severity, coalesce(d.evidence, '{}'), p_check, coalesce(d.measure, ''))
        ON CONFLICT (kind, subject) WHERE state = 'open' DO UPDATE
           SET last_seen = clock_timestamp(), evidence = excluded.evidence, severity = excluded.severity,
               measure = excluded.measure, found_by = coalesce(f.found_by, excluded.found_by),
               acknowledged_by = CASE WHEN (f.measure, f.severity) = (excluded.measure, excluded.severity) THEN f.acknowledged_by END,
               acknowledged_at = CASE WHEN (f.measure, f.severity) = (excluded.measure, excluded.severity) THEN f.acknowledged_at END
        RETURNING f.id, f.xmax = 0, f.froze INTO v_id, v_new, v_froze;
        v_opened := v_opened + v_new::int;
        CONTINUE WHEN d.severity <> 'critical' OR v_froze OR d.owner IS NULL
                   OR NOT EXISTS (SELECT FROM assets WHERE asset = ANY (string_to_array(d.asset, '/')));
        v_warm := ARRAY(SELECT x.asset FROM assets AS x
                         WHERE x.asset = ANY (string_to_array(d.asset, '/'))
                           AND NOT EXISTS (SELECT FROM accounts AS a
                                            WHERE a.owner = d.owner AND a.asset = x.asset AND a.frozen_by IS NOT NULL)
                         ORDER BY x.asset);
        IF v_warm = '{}' THEN
            UPDATE findings SET froze = true WHERE id = v_id;
        ELSIF (SELECT count(*) FROM findings WHERE run = p_run AND froze) >= p_freezes_max THEN
            v_beyond := v_beyond + v_new::int;
        ELSE
            FOREACH v_asset IN ARRAY v_warm LOOP
                v_frozen := v_frozen + account_freeze(d.owner, v_asset, format('finding %s: %s of %s', v_id, d.kind, d.subject))::int;
            END LOOP;
            UPDATE findings SET froze = true, run = p_run WHERE id = v_id;
        END IF;
    END LOOP;
    IF v_beyond > 0 THEN
        PERFORM halt('all', NULL, true, 'reconciliation',
                     format('check %s found more accounts to freeze than the %s that one run may', p_check, p_freezes_max));
        PERFORM find('too_many_deviations', p_check, 'critical', jsonb_build_object(
            'run', p_run, 'frozen', p_freezes_max, 'beyond', v_beyond));
    END IF;
    UPDATE findings AS f SET state = 'closed', last_seen = clock_timestamp()
     WHERE f.state = 'open' AND f.found_by = p_check AND p_closes_from_ms IS NOT NULL
       AND f.last_seen < 'epoch'::timestamptz + p_began_us * interval '1 microsecond'
       AND (f.first_seen >= 'epoch'::timestamptz + p_closes_from_ms * interval '1 ms' OR f.acknowledged_by IS NOT NULL)
       AND NOT EXISTS (SELECT FROM jsonb_populate_recordset(NULL::deviation, p_deviations || p_unclear) AS x
                        WHERE (x.kind, x.subject) = (f.kind, f.subject));
    GET DIAGNOSTICS v_closed = ROW_COUNT;
    RETURN jsonb_build_object('opened', v_opened, 'closed', v_closed, 'frozen', v_frozen, 'halted', v_beyond > 0);
END $$;

-- An operator answers for a finding. One that a check looks for stays open, without a word more, until it is gone or gets
-- worse; so does that of a dead delivery, until somebody decides on that; one of something that has happened is over. Returns whether this call changed anything.
CREATE FUNCTION finding_acknowledge(p_id bigint, p_operator text, p_evidence text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = backstop, pg_temp AS $$
DECLARE
    f findings;
BEGIN
    PERFORM refuse_unsigned(p_operator, p_evidence);
    SELECT * INTO f FROM findings WHERE id = p_id FOR NO KEY UPDATE;
    IF f.id IS NULL THEN
        PERFORM refuse('BS008', format('there is no finding %s', p_id), jsonb_build_object('field', 'finding', 'subject', p_id));
    END IF;
    IF f.state = 'closed' OR f.acknowledged_by IS NOT NULL THEN
        RETURN false;
    END IF;
    UPDATE findings
       SET acknowledged_by = p_operator, acknowledged_at = clock_timestamp(),
           state = CASE WHEN found_by IS NULL AND kind <> 'delivery_dead' THEN 'closed' ELSE state END
     WHERE id = p_id;
    INSERT INTO operator_acts (act, subject, operator, evidence)
    VALUES ('acknowledge finding', format('%s: %s of %s', f.id, f.kind, f.subject), p_operator, p_evidence);
    RETURN true;
END $$;
