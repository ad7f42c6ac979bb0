-- A row where the schema of the store is there and the user may not see what is in it.
--
-- Parameters: schema.
-- Columns:    none.
-- Index:      the catalogue's own.
SELECT FROM pg_catalog.pg_namespace
 WHERE nspname = %(schema)s
   AND NOT has_schema_privilege(oid, 'USAGE')
