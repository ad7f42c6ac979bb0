-- A row where a store stands in another schema than its own, as stores did before they had one; whether it does is
-- certain only with the revision in the alembic_version beside it.
--
-- Parameters: schema, its own; home, the other.
-- Columns:    none.
-- Index:      the catalogue's own. By names and not by regclass, which is an error where a schema may not be entered.
SELECT FROM pg_catalog.pg_class AS version
 WHERE version.relname = 'alembic_version'
   AND version.relnamespace = (SELECT oid FROM pg_catalog.pg_namespace
                                WHERE nspname = %(home)s AND has_schema_privilege(oid, 'USAGE'))
   AND has_table_privilege(version.oid, 'SELECT')
   AND EXISTS (SELECT FROM pg_catalog.pg_class
                WHERE relname = 'feature_schemas' AND relnamespace = version.relnamespace)
   AND EXISTS (SELECT FROM pg_catalog.pg_attribute JOIN pg_catalog.pg_class ON pg_class.oid = attrelid
                WHERE relname = 'restaurants' AND relnamespace = version.relnamespace AND attname = 'h3_cell')
   AND %(schema)s <> %(home)s
   AND NOT EXISTS (SELECT FROM pg_catalog.pg_class JOIN pg_catalog.pg_namespace ON pg_namespace.oid = relnamespace
                    WHERE relname = 'feature_schemas' AND nspname = %(schema)s)
