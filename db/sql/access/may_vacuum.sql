-- Whether this user may VACUUM both tables: whoever owns them or the database; from 17 on also who was granted MAINTAIN.
--
-- Parameters: none.
-- Columns:    may_vacuum.
-- Index:      the catalogue's own.
SELECT bool_and(
           CASE WHEN current_setting('server_version_num')::integer >= 170000
                THEN has_table_privilege(pg_class.oid, 'MAINTAIN')
                ELSE pg_has_role(pg_class.relowner, 'USAGE')
           END OR pg_has_role(pg_database.datdba, 'USAGE')) AS may_vacuum
  FROM pg_class
  JOIN pg_database ON pg_database.datname = current_database()
 WHERE pg_class.oid IN ('users'::regclass, 'restaurants'::regclass)
