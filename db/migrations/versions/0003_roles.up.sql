-- Who answers requests needs to read three tables, who loads needs to write them, and neither needs what an owner may.
-- The roles are groups: a login user becomes one by GRANT hexbite_loader TO that user, or by SET ROLE.

-- Roles belong to the cluster, not to the database: another database may have made them before, or be making them now.
DO $$
DECLARE
    wanted text;
    missing text[] := '{}';
BEGIN
    FOREACH wanted IN ARRAY ARRAY['hexbite_reader', 'hexbite_loader'] LOOP
        BEGIN
            IF to_regrole(wanted) IS NULL THEN
                EXECUTE format('CREATE ROLE %I NOLOGIN', wanted);
            END IF;
        EXCEPTION
            WHEN duplicate_object OR unique_violation THEN
                NULL; -- the migrator of another database was faster
            WHEN insufficient_privilege THEN
                missing := missing || format('CREATE ROLE %I NOLOGIN;', wanted);
        END;
    END LOOP;
    -- The service may connect as the owner and step down. From 16 on who made a role administers it, and still has to
    -- be granted the right to become it.
    IF pg_has_role(current_user, to_regrole('hexbite_reader')::oid,
                   CASE WHEN current_setting('server_version_num')::integer >= 160000 THEN 'SET' ELSE 'MEMBER' END)
       IS NOT TRUE THEN
        BEGIN
            GRANT hexbite_reader TO CURRENT_USER;
        EXCEPTION
            WHEN unique_violation THEN
                NULL; -- as above
            WHEN insufficient_privilege OR undefined_object THEN
                missing := missing || format('GRANT hexbite_reader TO %I;', current_user);
        END;
    END IF;
    IF missing <> '{}' THEN
        RAISE EXCEPTION 'user % lacks the CREATEROLE attribute or the ADMIN option for the roles of this revision; nothing was changed', current_user
            USING ERRCODE = 'insufficient_privilege',
                  HINT = 'A DBA has to run this first, in any database of the server: ' || array_to_string(missing, ' ');
    END IF;
END
$$;

-- For the rest of this transaction: what the function below pins must not be led astray by somebody's temporary tables.
SELECT set_config('search_path', format('%I, pg_temp', pg_namespace.nspname), true)
  FROM pg_class
  JOIN pg_namespace ON pg_namespace.oid = pg_class.relnamespace
 WHERE pg_class.oid = 'restaurants'::regclass;

-- The reader: every statement of the service. What the planner knows (pg_stats) shows to who may read the column.
GRANT SELECT ON feature_schemas, users, restaurants TO hexbite_reader;

-- The loader: loads, moves, status. Of a schema only the fills may change.
GRANT SELECT, INSERT, UPDATE, DELETE ON users, restaurants TO hexbite_loader;
GRANT SELECT,
      INSERT (fingerprint, user_features, restaurant_features, context_features, user_fills, restaurant_fills),
      UPDATE (user_fills, restaurant_fills)
   ON feature_schemas TO hexbite_loader;
GRANT SELECT ON alembic_version TO hexbite_loader;

GRANT EXECUTE ON FUNCTION pack_restaurant(bigint, double precision, double precision, real[])
   TO hexbite_reader, hexbite_loader;

-- A merge is planned on fresh statistics. Before Postgres 17 only the owner may ANALYZE a table, and lends
-- that by a function. (A VACUUM cannot be lent: no function can run one.)
CREATE FUNCTION analyse_features() RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    ANALYZE users, restaurants;
END
$$;

COMMENT ON FUNCTION analyse_features() IS 'ANALYZE users, restaurants: as their owner, for members of hexbite_loader.';

REVOKE EXECUTE ON FUNCTION analyse_features() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION analyse_features() TO hexbite_loader;

DO $$
DECLARE
    home name := current_schema();
    owns_home boolean := (SELECT pg_has_role(nspowner, 'USAGE') FROM pg_namespace WHERE nspname = current_schema());
    owns_database boolean := (SELECT pg_has_role(datdba, 'USAGE') FROM pg_database WHERE datname = current_database());
BEGIN
    IF current_setting('server_version_num')::integer >= 170000 THEN
        EXECUTE 'GRANT MAINTAIN ON users, restaurants TO hexbite_loader'; -- older ones cannot parse it
    END IF;
    IF owns_home THEN
        EXECUTE format('GRANT USAGE ON SCHEMA %I TO hexbite_reader, hexbite_loader', home);
    ELSIF NOT (has_schema_privilege('hexbite_reader', home, 'USAGE')
               AND has_schema_privilege('hexbite_loader', home, 'USAGE')) THEN
        RAISE EXCEPTION 'user % may not let the roles of this revision into schema %; nothing was changed', current_user, home
            USING ERRCODE = 'insufficient_privilege',
                  HINT = format('Its owner has to run this first: GRANT USAGE ON SCHEMA %I TO hexbite_reader, hexbite_loader;', home);
    END IF;
    -- Everybody may make temporary tables where nobody says otherwise: a way to fill the disk that a reader needs not.
    IF owns_database THEN
        EXECUTE format('GRANT TEMPORARY ON DATABASE %I TO hexbite_loader', current_database());
        EXECUTE format('REVOKE TEMPORARY ON DATABASE %I FROM PUBLIC', current_database());
    ELSE
        RAISE WARNING 'only the owner of database % can keep readers from making temporary tables: GRANT TEMPORARY ON DATABASE % TO hexbite_loader; REVOKE TEMPORARY ON DATABASE % FROM PUBLIC;',
                     current_database(), quote_ident(current_database()), quote_ident(current_database());
    END IF;
END
$$;
