-- What keeps a session from reading the tables of the store.
--
-- Parameters: $1 schema.
-- Columns:    may_enter, NULL where there is no such schema; closed, the tables that may not be read; filtered, those of
--             which a policy would hide rows; both NULL for none.
-- Index:      the catalogue's own.
SELECT (SELECT has_schema_privilege(oid, 'USAGE') FROM pg_catalog.pg_namespace WHERE nspname = $1) AS may_enter,
       array_agg(relname::text ORDER BY relname) FILTER (WHERE NOT has_table_privilege(pg_class.oid, 'SELECT')) AS closed,
       array_agg(relname::text ORDER BY relname) FILTER (WHERE row_security_active(pg_class.oid)) AS filtered
  FROM pg_catalog.pg_class
 WHERE relnamespace = (SELECT oid FROM pg_catalog.pg_namespace WHERE nspname = $1)
   AND relname IN ('feature_schemas', 'users', 'restaurants', 'user_states', 'arrival_states', 'pending_events')
