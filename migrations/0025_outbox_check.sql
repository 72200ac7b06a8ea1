-- What reconciliation asks of deliveries. An event that is given up is a finding of its own at once (0017); this tells of
-- endpoints that get nothing, whyever that is.

SET LOCAL search_path = backstop, public;

CREATE FUNCTION check_outbox() RETURNS SETOF deviation
LANGUAGE sql STABLE AS $$
    SELECT 'outbox_lags', 'endpoint/' || endpoint, 'warning', '', NULL, NULL,
           jsonb_build_object('waiting_since', waiting_since, 'aggregates', behind, 'dead', dead, 'closed_why', closed_why)
      FROM outbox_lag WHERE lag > interval '10 minutes';
$$;

GRANT EXECUTE ON FUNCTION check_outbox TO backstop_worker;
