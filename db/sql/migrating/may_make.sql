-- Whether a migrator may make the schema of the store, or what it needs in the one that is there.
--
-- Parameters: schema.
-- Columns:    user_name, database_name, as SQL takes them; may_make, a schema in this database; is_enough, NULL where
--             there is no such schema: it is the user's, or a DBA has let everybody in who has to be.
-- Index:      the catalogue's own.
SELECT quote_ident(current_user) AS user_name,
       quote_ident(current_database()) AS database_name,
       has_database_privilege(current_database(), 'CREATE') AS may_make,
       (SELECT pg_has_role(nspowner, 'USAGE')
               OR (has_schema_privilege(oid, 'CREATE')
                   -- Before they are made: what everybody may.
                   AND coalesce(has_schema_privilege(to_regrole('hexbite_reader')::oid, oid, 'USAGE'),
                                has_schema_privilege('public', oid, 'USAGE'))
                   AND coalesce(has_schema_privilege(to_regrole('hexbite_loader')::oid, oid, 'USAGE'),
                                has_schema_privilege('public', oid, 'USAGE')))
          FROM pg_catalog.pg_namespace
         WHERE nspname = %(schema)s) AS is_enough
