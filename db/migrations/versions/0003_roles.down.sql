-- The roles themselves stay, and who is a member of them: they are the cluster's, and another database may rely on them.
-- A DBA who knows of none drops them: DROP ROLE hexbite_reader, hexbite_loader.

DROP FUNCTION analyse_features();

REVOKE ALL ON feature_schemas, users, restaurants, alembic_version FROM hexbite_reader, hexbite_loader;
REVOKE ALL ON FUNCTION pack_restaurant(bigint, double precision, double precision, real[])
  FROM hexbite_reader, hexbite_loader;

DO $$
DECLARE
    home name := (SELECT nspname FROM pg_namespace JOIN pg_class ON pg_class.relnamespace = pg_namespace.oid
                   WHERE pg_class.oid = 'restaurants'::regclass);
    owns_home boolean := (SELECT pg_has_role(nspowner, 'USAGE') FROM pg_namespace WHERE nspname = home);
    owns_database boolean := (SELECT pg_has_role(datdba, 'USAGE') FROM pg_database WHERE datname = current_database());
BEGIN
    IF owns_home THEN
        EXECUTE format('REVOKE ALL ON SCHEMA %I FROM hexbite_reader, hexbite_loader', home);
    END IF;
    -- As Postgres makes a database. Who wants no temporary tables in it has to say so again.
    IF owns_database THEN
        EXECUTE format('REVOKE ALL ON DATABASE %I FROM hexbite_reader, hexbite_loader', current_database());
        EXECUTE format('GRANT TEMPORARY ON DATABASE %I TO PUBLIC', current_database());
    END IF;
END
$$;
