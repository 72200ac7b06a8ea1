#!/bin/bash
# The workers' login, which holds the role `backstop_worker` and nothing else. Run once, when the books' server is made, before
# the first migration; running it again changes the password only.
set -euo pipefail
psql -v ON_ERROR_STOP=1 -v password="$BOOKS_WORKER_PASSWORD" --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" <<'SQL'
SELECT 'CREATE ROLE backstop_worker NOLOGIN' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'backstop_worker') \gexec
SELECT 'CREATE ROLE backstop_app LOGIN' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'backstop_app') \gexec
ALTER ROLE backstop_app PASSWORD :'password';
GRANT backstop_worker TO backstop_app;
SQL
