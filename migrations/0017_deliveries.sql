-- Deliveries: every event of the outbox, and every entry of the books, is taken to those who have asked for it, at least
-- once, and in order within its aggregate. An entry's aggregate is its account, and its place there the account's version.
--
-- Ids and versions are drawn while the aggregate's row is locked, and the lock is held until the commit: within an aggregate
-- they are in the order of commits, and where one shows, no smaller one can show up later. Between aggregates that is not
-- so. What is new is therefore found by transaction, below the oldest one that runs (`outbox_relay`); what is to be sent
-- next, by the order of the aggregate (`stream_events`).
--
-- Locks: `relays` before `streams`, before `endpoints`. Whoever locks several streams and waits for them holds their relay.

SET LOCAL search_path = backstop, public;

CREATE INDEX outbox_xid ON outbox (xid);
CREATE INDEX outbox_aggregate ON outbox (aggregate, id);

-- Who wants events. What signs them is in the environment of the workers, never here.
CREATE TABLE endpoints (
    name        text PRIMARY KEY CHECK (name ~ '^[a-z0-9][a-z0-9-]{0,31}$'),
    url         text NOT NULL CHECK (url ~ '^(https?://[^/@?#\s]+|file:///[^?#]*[^/?#])'),
    -- Which kinds: whole names, and beginnings as in `payout.*`; and the same as patterns.
    kinds       text[] NOT NULL CHECK (cardinality(kinds) > 0),
    patterns    text[] NOT NULL CHECK (cardinality(patterns) = cardinality(kinds)),
    -- What this snapshot saw was before its time; null: it gets everything from the beginning.
    since       pg_snapshot,
    -- It did not answer, or wants to be left alone: nothing is sent to it until then.
    closed_until timestamptz,
    closed_why  text,
    -- How often in a row.
    failures    int NOT NULL DEFAULT 0,
    -- When it last took an event, to the second.
    accepted_at timestamptz,
    created_at  timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- How far new events are told apart for an endpoint: what transactions before `upto` have written was read.
CREATE TABLE relays (
    endpoint text PRIMARY KEY REFERENCES endpoints,
    upto     xid8 NOT NULL
);

-- An aggregate's way to an endpoint: up to where there is something, and up to where it was delivered. Whoever sends holds
-- a lease on the whole stream, so that its events stay in order; the token tells a late holder from the present one.
CREATE TABLE streams (
    endpoint    text NOT NULL REFERENCES endpoints,
    aggregate   text NOT NULL,
    -- Of a stream of entries: places are versions. Of any other they are ids of the outbox.
    account     bigint REFERENCES accounts,
    head        bigint NOT NULL,
    delivered   bigint NOT NULL,
    -- Of the event that comes next: how often the endpoint has answered that it does not take it, when a delivery of it
    -- failed last, and how.
    attempts    int NOT NULL DEFAULT 0,
    failed_at   timestamptz,
    last_error  text,
    due_at      timestamptz NOT NULL,
    lease_until timestamptz,
    lease_by    text,
    token       bigint,
    -- Given up until somebody decides, and which event that was about; the latter stays until that event is passed.
    dead_since  timestamptz,
    dead_place  bigint,
    PRIMARY KEY (endpoint, aggregate),
    CHECK (delivered <= head),
    CHECK (dead_since IS NULL OR dead_place IS NOT NULL)
);
-- Not counted by stream: one that is made anew under an old name has no holders of the old one.
CREATE SEQUENCE stream_tokens;
CREATE INDEX streams_due ON streams (endpoint, due_at) WHERE head > delivered AND dead_since IS NULL;
CREATE INDEX streams_behind ON streams (endpoint) WHERE head > delivered;
CREATE INDEX streams_dead ON streams (endpoint) WHERE dead_since IS NOT NULL;

-- How far behind each endpoint is: since when the oldest event waits that it has not got, in how many aggregates, and how
-- many of these are dead, for which nobody waits: an operator has to decide. An event that no relay has read yet waits, too, also for a transaction that is still open.
CREATE VIEW outbox_lag AS
    SELECT e.name AS endpoint, x.waiting_since, coalesce(clock_timestamp() - x.waiting_since, '0') AS lag, x.behind, x.dead,
           e.closed_until, e.closed_why
      FROM endpoints AS e
      JOIN relays AS r ON r.endpoint = e.name
     CROSS JOIN LATERAL (
        SELECT count(s.aggregate) AS behind, count(*) FILTER (WHERE s.dead_since IS NOT NULL) AS dead,
               least(min(n.at), u.at) AS waiting_since
          FROM (SELECT least(
                   (SELECT o.at FROM outbox AS o
                     WHERE o.xid >= r.upto AND o.kind LIKE ANY (e.patterns)
                       AND (e.since IS NULL OR NOT pg_visible_in_snapshot(o.xid, e.since)) ORDER BY o.xid LIMIT 1),
                   (SELECT t.at FROM entries AS t
                     WHERE t.xid >= r.upto AND 'entry.' || t.kind LIKE ANY (e.patterns)
                       AND (e.since IS NULL OR NOT pg_visible_in_snapshot(t.xid, e.since)) ORDER BY t.xid LIMIT 1)) AS at) AS u
          LEFT JOIN streams AS s ON s.endpoint = e.name AND s.head > s.delivered
          LEFT JOIN LATERAL (
            (SELECT o.at FROM outbox AS o
              WHERE s.dead_since IS NULL AND s.account IS NULL AND o.aggregate = s.aggregate AND o.id > s.delivered AND o.kind LIKE ANY (e.patterns)
              ORDER BY o.id LIMIT 1)
            UNION ALL
            (SELECT t.at FROM entries AS t
              WHERE s.dead_since IS NULL AND t.account = s.account AND t.version > s.delivered
                AND 'entry.' || t.kind LIKE ANY (e.patterns)
              ORDER BY t.version LIMIT 1)) AS n ON true
         GROUP BY u.at) AS x;

-- What the event at a place of a stream is called, wherever it goes and however often.
CREATE FUNCTION event_id(p_account bigint, p_place bigint) RETURNS text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = backstop, pg_temp AS $$
    SELECT CASE WHEN p_account IS NULL THEN 'outbox/' || p_place
                ELSE (SELECT format('entry/%s/%s', key, line) FROM entries WHERE account = p_account AND version = p_place)
           END;
$$;

-- Gives an endpoint events from now on, or from the beginning. Again, it changes nothing. Returns whether it was new.
CREATE FUNCTION endpoint_add(p_name text, p_url text, p_kinds text[], p_from_beginning boolean, p_by text, p_reason text)
RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = backstop, pg_temp AS $$
DECLARE
    e       endpoints;
    v_since pg_snapshot;
    v_kinds text[] := coalesce(nullif(p_kinds, '{}'), '{*}');
    v_kind  text;
BEGIN
    PERFORM refuse_unsigned(p_by, p_reason);
    IF p_name IS NULL OR p_name !~ '^[a-z0-9][a-z0-9-]{0,31}$' THEN
        PERFORM refuse_input('name', '1 to 32 lower-case letters, digits and dashes, no dash first');
    END IF;
    -- A password would be in the books for everybody who reads them.
    IF p_url IS NULL OR p_url !~ '^(https?://[^/@?#\s]+([/?][^#\s]*)?|file:///[^?#]*[^/?#])$' THEN
        PERFORM refuse_input('url', 'http://… or https://…, without user, password and fragment, or file:///… with the '
            || 'absolute path of a file');
    END IF;
    FOREACH v_kind IN ARRAY v_kinds LOOP
        IF v_kind !~ '^([a-z_]+(\.[a-z_]+)*(\.\*)?|\*)$' THEN
            PERFORM refuse_input('kind', format('kinds of events, as payout.settled, payout.*, entry.* or *; got %s', v_kind));
        END IF;
    END LOOP;
    -- What is not in this snapshot has not committed by now; the endpoint gets all of that, and nothing else.
    v_since := CASE WHEN p_from_beginning THEN NULL ELSE pg_current_snapshot() END;
    INSERT INTO endpoints (name, url, kinds, patterns, since)
    VALUES (p_name, p_url, v_kinds,
            ARRAY(SELECT replace(replace(kind, '_', '\_'), '*', '%') FROM unnest(v_kinds) WITH ORDINALITY AS k (kind, n)
                   ORDER BY n), v_since)
    ON CONFLICT DO NOTHING RETURNING * INTO e;
    IF e.name IS NULL THEN
        SELECT * INTO STRICT e FROM endpoints WHERE name = p_name;
        PERFORM refuse_other_content('endpoint ' || p_name,
            jsonb_build_object('url', e.url, 'kind', e.kinds, 'from_beginning', e.since IS NULL),
            jsonb_build_object('url', p_url, 'kind', v_kinds, 'from_beginning', p_from_beginning));
        RETURN false;
    END IF;
    INSERT INTO relays (endpoint, upto) VALUES (p_name, coalesce(pg_snapshot_xmin(v_since), '0'));
    INSERT INTO operator_acts (act, subject, operator, evidence)
    VALUES ('add endpoint', format('%s %s', p_name, p_url), p_by, p_reason);
    RETURN true;
END $$;

-- Takes an endpoint away, and with it what it has not got. Returns whether there was one.
CREATE FUNCTION endpoint_remove(p_name text, p_by text, p_reason text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = backstop, pg_temp AS $$
BEGIN
    PERFORM refuse_unsigned(p_by, p_reason);
    DELETE FROM relays WHERE endpoint = p_name;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    -- Whoever sends holds none of these locks meanwhile, and finds its stream gone.
    PERFORM FROM streams WHERE endpoint = p_name FOR UPDATE;
    UPDATE findings AS f SET state = 'closed', last_seen = clock_timestamp()
      FROM streams AS s
     WHERE s.endpoint = p_name AND s.dead_place IS NOT NULL
       AND f.kind = 'delivery_dead' AND f.subject = s.endpoint || '/' || s.aggregate AND f.state = 'open';
    DELETE FROM streams WHERE endpoint = p_name;
    DELETE FROM endpoints WHERE name = p_name;
    INSERT INTO operator_acts (act, subject, operator, evidence) VALUES ('remove endpoint', p_name, p_by, p_reason);
    RETURN true;
END $$;

-- The last places of what transactions from `p_from` on and before `p_bound` have written for an endpoint.
CREATE FUNCTION new_heads(e endpoints, p_from xid8, p_bound xid8)
RETURNS TABLE (aggregate text, account bigint, head bigint)
LANGUAGE sql STABLE AS $$
    SELECT o.aggregate, NULL::bigint, max(o.id) FROM outbox AS o
     WHERE o.xid >= p_from AND o.xid < p_bound AND o.kind LIKE ANY (e.patterns)
       AND (e.since IS NULL OR NOT pg_visible_in_snapshot(o.xid, e.since))
     GROUP BY o.aggregate
    UNION ALL
    SELECT format('entries/%s/%s', a.owner, a.asset), a.id, max(t.version)
      FROM entries AS t JOIN accounts AS a ON a.id = t.account
     WHERE t.xid >= p_from AND t.xid < p_bound AND 'entry.' || t.kind LIKE ANY (e.patterns)
       AND (e.since IS NULL OR NOT pg_visible_in_snapshot(t.xid, e.since))
     GROUP BY a.id;
$$;

-- Where a new stream begins: behind the last event that its endpoint's snapshot saw. Those that it saw come before all others
-- of the aggregate, and few have come since.
CREATE FUNCTION stream_start(e endpoints, p_aggregate text, p_account bigint) RETURNS bigint
LANGUAGE sql STABLE AS $$
    SELECT coalesce(CASE
        WHEN e.since IS NULL THEN 0
        WHEN p_account IS NULL THEN (SELECT id FROM outbox WHERE aggregate = p_aggregate
                                        AND pg_visible_in_snapshot(xid, e.since) ORDER BY id DESC LIMIT 1)
        ELSE (SELECT version FROM entries WHERE account = p_account AND pg_visible_in_snapshot(xid, e.since)
               ORDER BY version DESC LIMIT 1) END, 0);
$$;

-- Finds what is new, and raises the heads of its streams. Only what is below the oldest transaction that still runs: what
-- that one writes, or any later one, can't be below it any more. A round reads about `p_limit` events of each endpoint, and
-- says whether there are more. While nothing is new it writes nothing, and locks nothing.
CREATE FUNCTION outbox_relay(p_limit int) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = backstop, pg_temp AS $$
DECLARE
    moment  timestamptz := clock_timestamp();
    e       endpoints;
    v_name  text;
    v_from  xid8;
    v_upper xid8;
    v_bound xid8;
    v_more  boolean := false;
BEGIN
    FOR v_name IN
        SELECT r.endpoint FROM relays AS r
         WHERE EXISTS (SELECT FROM outbox AS o WHERE o.xid >= r.upto AND o.xid < pg_snapshot_xmin(pg_current_snapshot()))
            OR EXISTS (SELECT FROM entries AS t WHERE t.xid >= r.upto AND t.xid < pg_snapshot_xmin(pg_current_snapshot()))
         ORDER BY r.endpoint LOOP
        -- Another process that is at it does it for all.
        SELECT upto INTO v_from FROM relays WHERE endpoint = v_name FOR NO KEY UPDATE SKIP LOCKED;
        CONTINUE WHEN NOT FOUND;
        SELECT * INTO STRICT e FROM endpoints WHERE name = v_name;
        v_upper := pg_snapshot_xmin(pg_current_snapshot());
        SELECT x.xid INTO v_bound FROM (
            (SELECT xid FROM outbox WHERE xid >= v_from AND xid < v_upper ORDER BY xid OFFSET p_limit LIMIT 1)
            UNION ALL
            (SELECT xid FROM entries WHERE xid >= v_from AND xid < v_upper ORDER BY xid OFFSET p_limit LIMIT 1)) AS x
         ORDER BY x.xid LIMIT 1;
        IF v_bound = v_from THEN
            -- One transaction wrote more than that: it is read as a whole.
            SELECT x.xid INTO v_bound FROM (
                (SELECT xid FROM outbox WHERE xid > v_from AND xid < v_upper ORDER BY xid LIMIT 1)
                UNION ALL
                (SELECT xid FROM entries WHERE xid > v_from AND xid < v_upper ORDER BY xid LIMIT 1)) AS x
             ORDER BY x.xid LIMIT 1;
        END IF;
        v_more := v_more OR v_bound IS NOT NULL;
        v_bound := coalesce(v_bound, v_upper);
        WITH x AS MATERIALIZED (
            SELECT * FROM new_heads(e, v_from, v_bound)
        ), known AS (
            UPDATE streams AS s
               SET head = x.head, due_at = CASE WHEN s.delivered = s.head THEN moment ELSE s.due_at END
              FROM x WHERE s.endpoint = v_name AND s.aggregate = x.aggregate AND s.head < x.head)
        INSERT INTO streams (endpoint, aggregate, account, head, delivered, due_at)
        SELECT v_name, x.aggregate, x.account, x.head, stream_start(e, x.aggregate, x.account), moment
          FROM x WHERE NOT EXISTS (SELECT FROM streams AS s WHERE s.endpoint = v_name AND s.aggregate = x.aggregate);
        UPDATE relays SET upto = v_bound WHERE endpoint = v_name;
    END LOOP;
    RETURN v_more;
END $$;

-- Takes streams of an endpoint that have something to send, those first that have waited longest. None while the endpoint
-- wants to be left alone, nor for who would send to where it was before. What a dead process has taken is free again when its
-- lease is over.
CREATE FUNCTION stream_lease(p_endpoint text, p_url text, p_by text, p_limit int, p_lease_ms int)
RETURNS TABLE (aggregate text, token bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = backstop, pg_temp AS $$
DECLARE
    moment timestamptz := clock_timestamp();
BEGIN
    IF NOT EXISTS (SELECT FROM endpoints
                    WHERE name = p_endpoint AND url = p_url AND (closed_until IS NULL OR closed_until <= moment)) THEN
        RETURN;
    END IF;
    RETURN QUERY
    UPDATE streams AS s
       SET token = nextval('stream_tokens'), lease_by = p_by, lease_until = moment + p_lease_ms * interval '1 ms'
      FROM (SELECT x.aggregate FROM streams AS x
             WHERE x.endpoint = p_endpoint AND x.head > x.delivered AND x.dead_since IS NULL AND x.due_at <= moment
               AND (x.lease_until IS NULL OR x.lease_until <= moment)
             ORDER BY x.due_at LIMIT p_limit FOR NO KEY UPDATE SKIP LOCKED) AS x
     WHERE s.endpoint = p_endpoint AND s.aggregate = x.aggregate
    RETURNING s.aggregate, s.token;
END $$;

-- The stream, locked, while this token still holds it.
CREATE FUNCTION lock_leased(p_endpoint text, p_aggregate text, p_token bigint) RETURNS streams
LANGUAGE sql AS $$
    SELECT * FROM streams
     WHERE endpoint = p_endpoint AND aggregate = p_aggregate AND token = p_token AND lease_until IS NOT NULL
       FOR NO KEY UPDATE;
$$;

-- The next events of a leased stream, in their order, for another lease's time. None: it is up to date, and free again; or
-- it is held by another.
CREATE FUNCTION stream_events(p_endpoint text, p_aggregate text, p_token bigint, p_limit int, p_lease_ms int)
RETURNS TABLE (place bigint, id text, kind text, at text, data jsonb)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = backstop, pg_temp AS $$
DECLARE
    s        streams := lock_leased(p_endpoint, p_aggregate, p_token);
    v_wanted text[];
BEGIN
    IF s.endpoint IS NULL THEN
        RETURN;
    END IF;
    SELECT patterns INTO v_wanted FROM endpoints WHERE name = p_endpoint;
    IF s.account IS NULL THEN
        RETURN QUERY
        SELECT o.id, event_id(NULL, o.id), o.kind, event_time(o.at), o.payload FROM outbox AS o
         WHERE o.aggregate = p_aggregate AND o.id > s.delivered AND o.id <= s.head AND o.kind LIKE ANY (v_wanted)
         ORDER BY o.id LIMIT p_limit;
    ELSE
        RETURN QUERY
        SELECT t.version, format('entry/%s/%s', t.key, t.line), 'entry.' || t.kind, event_time(t.at), jsonb_build_object(
                   'key', t.key, 'line', t.line, 'user_id', a.owner, 'asset_id', a.asset, 'version', t.version,
                   'counter', t.counter, 'd_available', trim_scale(t.d_available)::text,
                   'd_locked', trim_scale(t.d_locked)::text, 'd_transit', trim_scale(t.d_transit)::text,
                   'd_counter', trim_scale(t.d_counter)::text, 'available_after', trim_scale(t.available_after)::text,
                   'locked_after', trim_scale(t.locked_after)::text)
          FROM entries AS t JOIN accounts AS a ON a.id = t.account
         WHERE t.account = s.account AND t.version > s.delivered AND t.version <= s.head
           AND 'entry.' || t.kind LIKE ANY (v_wanted)
         ORDER BY t.version LIMIT p_limit;
    END IF;
    IF FOUND THEN
        UPDATE streams AS x SET lease_until = clock_timestamp() + p_lease_ms * interval '1 ms'
         WHERE x.endpoint = p_endpoint AND x.aggregate = p_aggregate;
    ELSE
        UPDATE streams AS x SET delivered = x.head, lease_until = NULL
         WHERE x.endpoint = p_endpoint AND x.aggregate = p_aggregate;
    END IF;
END $$;

CREATE FUNCTION event_time(p_at timestamptz) RETURNS text
LANGUAGE sql STABLE AS $$ SELECT to_char(p_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') $$;

-- Closes the finding of a dead event that was passed.
CREATE FUNCTION close_dead(s streams) RETURNS void
LANGUAGE sql AS $$
    UPDATE findings SET state = 'closed', last_seen = clock_timestamp()
     WHERE kind = 'delivery_dead' AND subject = s.endpoint || '/' || s.aggregate AND state = 'open';
$$;

-- Delivered up to there. Returns whether the stream is still the caller's, who may go on for another lease's time.
CREATE FUNCTION stream_delivered(p_endpoint text, p_aggregate text, p_token bigint, p_place bigint, p_lease_ms int)
RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = backstop, pg_temp AS $$
DECLARE
    s      streams := lock_leased(p_endpoint, p_aggregate, p_token);
    moment timestamptz := clock_timestamp();
BEGIN
    IF s.endpoint IS NULL OR p_place <= s.delivered THEN
        RETURN false;
    END IF;
    IF s.dead_place <= p_place THEN
        PERFORM close_dead(s);
    END IF;
    UPDATE streams
       SET delivered = p_place, attempts = 0, failed_at = NULL, last_error = NULL, due_at = moment,
           dead_place = CASE WHEN dead_place > p_place THEN dead_place END,
           lease_until = moment + p_lease_ms * interval '1 ms'
     WHERE endpoint = p_endpoint AND aggregate = p_aggregate;
    -- To the second: the row is everybody's who sends there.
    UPDATE endpoints SET accepted_at = moment, failures = 0
     WHERE name = p_endpoint
       AND (failures > 0 OR accepted_at IS NULL OR accepted_at < moment - interval '1 s');
    RETURN true;
END $$;

-- Gives a stream back before it is up to date.
CREATE FUNCTION stream_release(p_endpoint text, p_aggregate text, p_token bigint) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = backstop, pg_temp AS $$
    UPDATE streams SET lease_until = NULL, due_at = greatest(due_at, clock_timestamp())
     WHERE endpoint = p_endpoint AND aggregate = p_aggregate AND token = p_token;
$$;

-- Growing, and never the same for many at once.
CREATE FUNCTION delivery_pause(p_first_ms bigint, p_failures int, p_longest interval) RETURNS interval
LANGUAGE sql VOLATILE AS $$
    SELECT least(p_first_ms * power(2, least(p_failures, 30) - 1) * interval '1 ms', p_longest) * (0.5 + random() / 2);
$$;

-- An event was not taken. What the endpoint has answered to it (`p_about` is 'event') counts as an attempt, and after so many
-- its stream is dead. What says nothing of the event ('endpoint': not reached, 429, 503) closes the endpoint for a while and
-- counts for no event. What may be either ('unclear': no answer, 500, 404) counts as well, but only if the endpoint has taken something
-- else since the event failed before: else one that is stuck would use up the attempts of hundreds. Returns whether it
-- counted; null when the stream is another's.
CREATE FUNCTION stream_failed(
    p_endpoint text, p_aggregate text, p_token bigint, p_place bigint, p_about text, p_error text, p_retry_after_ms bigint,
    p_pause_ms bigint, p_attempts_max int
) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = backstop, pg_temp AS $$
DECLARE
    s        streams := lock_leased(p_endpoint, p_aggregate, p_token);
    e        endpoints;
    moment   timestamptz := clock_timestamp();
    v_after  interval := least(coalesce(p_retry_after_ms, 0), 86400000) * interval '1 ms';
    v_error  text := left(p_error, 500);
    v_counts boolean;
    v_dead   boolean;
BEGIN
    IF s.endpoint IS NULL OR p_place <= s.delivered THEN
        RETURN NULL;
    END IF;
    SELECT * INTO STRICT e FROM endpoints WHERE name = p_endpoint FOR NO KEY UPDATE;
    v_counts := p_about = 'event' OR (p_about = 'unclear' AND coalesce(e.accepted_at > s.failed_at, false));
    IF v_counts THEN
        s.attempts := s.attempts + 1;
        s.due_at := moment + greatest(v_after, delivery_pause(p_pause_ms, s.attempts, interval '1 hour'));
    ELSIF e.closed_until IS NULL OR e.closed_until <= moment THEN
        UPDATE endpoints
           SET failures = e.failures + 1, closed_why = v_error,
               closed_until = moment + greatest(v_after, delivery_pause(p_pause_ms, e.failures + 1, interval '1 minute'))
         WHERE name = p_endpoint;
    ELSE
        -- Of those that were under way when it closed. They say nothing new, unless it is how long.
        UPDATE endpoints SET closed_until = moment + v_after WHERE name = p_endpoint AND closed_until < moment + v_after;
    END IF;
    v_dead := s.attempts >= p_attempts_max;
    UPDATE streams
       SET attempts = s.attempts, due_at = s.due_at, failed_at = moment, last_error = v_error, lease_until = NULL,
           dead_since = CASE WHEN v_dead THEN moment END, dead_place = CASE WHEN v_dead THEN p_place ELSE dead_place END
     WHERE endpoint = p_endpoint AND aggregate = p_aggregate;
    IF v_dead THEN
        -- That such a finding could not be told is no further finding: it would never end.
        IF p_aggregate NOT LIKE 'finding/delivery\_dead/%' THEN
            PERFORM find('delivery_dead', p_endpoint || '/' || p_aggregate, 'warning', jsonb_build_object(
                'endpoint', p_endpoint, 'aggregate', p_aggregate, 'event', event_id(s.account, p_place),
                'attempts', s.attempts, 'last_error', v_error));
            -- Whoever has answered for it did so before it was tried again.
            UPDATE findings SET acknowledged_by = NULL, acknowledged_at = NULL
             WHERE kind = 'delivery_dead' AND subject = p_endpoint || '/' || p_aggregate AND state = 'open';
        END IF;
    END IF;
    RETURN v_counts;
END $$;

-- An operator's word on dead streams: of one aggregate, or of all that the endpoint has. Their events are tried again as if
-- for the first time (`p_skip` false), or passed over. Returns the events that it was about.
CREATE FUNCTION delivery_decide(p_endpoint text, p_aggregate text, p_skip boolean, p_by text, p_reason text) RETURNS text[]
LANGUAGE plpgsql SECURITY DEFINER SET search_path = backstop, pg_temp AS $$
DECLARE
    s        streams;
    v_event  text;
    v_events text[] := '{}';
BEGIN
    PERFORM refuse_unsigned(p_by, p_reason);
    PERFORM FROM relays WHERE endpoint = p_endpoint FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        PERFORM refuse('BS008', format('there is no endpoint %s', p_endpoint),
                       jsonb_build_object('field', 'endpoint', 'subject', p_endpoint));
    END IF;
    FOR s IN SELECT * FROM streams
              WHERE endpoint = p_endpoint AND dead_since IS NOT NULL AND (p_aggregate IS NULL OR aggregate = p_aggregate)
                FOR NO KEY UPDATE LOOP
        v_event := event_id(s.account, s.dead_place);
        v_events := v_events || v_event;
        INSERT INTO operator_acts (act, subject, operator, evidence)
        VALUES (CASE WHEN p_skip THEN 'skip event' ELSE 'redeliver event' END, format('%s %s', p_endpoint, v_event),
                p_by, p_reason);
        UPDATE streams
           SET dead_since = NULL, attempts = 0, failed_at = NULL, due_at = clock_timestamp(),
               delivered = CASE WHEN p_skip THEN dead_place ELSE delivered END,
               dead_place = CASE WHEN p_skip THEN NULL ELSE dead_place END
         WHERE endpoint = s.endpoint AND aggregate = s.aggregate;
        IF p_skip THEN
            PERFORM close_dead(s);
        END IF;
    END LOOP;
    IF p_aggregate IS NOT NULL AND v_events = '{}' THEN
        PERFORM refuse('BS008', format('no delivery of %s to %s is dead', p_aggregate, p_endpoint),
                       jsonb_build_object('field', 'aggregate', 'subject', p_aggregate));
    END IF;
    RETURN v_events;
END $$;
