-- Everything of ours into the schema that comes last in this session's search_path; where the store still stands in
-- another one, that one comes first. Names are looked up in order, so that Alembic finds its table before and after.

DO $$
DECLARE
    own name := (SELECT nspname FROM unnest(current_schemas(false)) WITH ORDINALITY AS path (nspname, place)
                  ORDER BY place DESC LIMIT 1);
    home name := (SELECT nspname FROM pg_namespace JOIN pg_class ON pg_class.relnamespace = pg_namespace.oid
                   WHERE pg_class.oid = 'restaurants'::regclass);
    owns_own boolean := (SELECT pg_has_role(nspowner, 'USAGE') FROM pg_namespace WHERE nspname = own);
    ours regprocedure;
    moved text;
    versions bigint;
BEGIN
    IF home <> own THEN
        -- An empty one that a way down has left would be in the way.
        IF to_regclass(format('%I.alembic_version', own)) IS NOT NULL THEN
            EXECUTE format('SELECT count(*) FROM %I.alembic_version', own) INTO versions;
            IF versions = 0 THEN
                EXECUTE format('DROP TABLE %I.alembic_version', own);
            END IF;
        END IF;
        -- Indexes, triggers, constraints and the sequence of a table go with it.
        FOREACH moved IN ARRAY ARRAY['feature_schemas', 'users', 'restaurants', 'alembic_version'] LOOP
            EXECUTE format('ALTER TABLE %I.%I SET SCHEMA %I', home, moved, own);
        END LOOP;
    END IF;
    -- By their whole signature: another program may have functions of these names.
    FOREACH moved IN ARRAY ARRAY['refuse_schema_change()', 'refuse_user_width()', 'refuse_restaurant_width()', 'refuse_stale_cell()',
                                 'analyse_features()', 'pack_restaurant(bigint, double precision, double precision, real[])'] LOOP
        ours := coalesce(to_regprocedure(format('%I.%s', home, moved)), to_regprocedure(format('%I.%s', own, moved)));
        CONTINUE WHEN ours IS NULL;
        IF (SELECT nspname FROM pg_proc JOIN pg_namespace ON pg_namespace.oid = pronamespace WHERE pg_proc.oid = ours) <> own THEN
            EXECUTE format('ALTER FUNCTION %s SET SCHEMA %I', ours, own);
        END IF;
        -- Those that look tables up remember where; the one that does so with its owner's rights, pg_temp last.
        IF home <> own AND EXISTS (SELECT FROM pg_proc WHERE oid = ours AND proconfig IS NOT NULL) THEN
            EXECUTE format('ALTER FUNCTION %s SET search_path = %I', ours, own)
                    || CASE WHEN EXISTS (SELECT FROM pg_proc WHERE oid = ours AND prosecdef) THEN ', pg_temp' ELSE '' END;
        END IF;
    END LOOP;
    IF home <> own THEN
        IF owns_own THEN
            EXECUTE format('GRANT USAGE ON SCHEMA %I TO hexbite_reader, hexbite_loader', own);
        ELSIF NOT (has_schema_privilege('hexbite_reader', own, 'USAGE')
                   AND has_schema_privilege('hexbite_loader', own, 'USAGE')) THEN
            RAISE EXCEPTION 'user % may not let the roles of the store into schema %; nothing was changed', current_user, own
                USING ERRCODE = 'insufficient_privilege',
                      HINT = format('Its owner has to run this first: GRANT USAGE ON SCHEMA %I TO hexbite_reader, hexbite_loader;', own);
        END IF;
        -- What 0003 granted them there. Who is not its owner could not have.
        IF (SELECT pg_has_role(nspowner, 'USAGE') FROM pg_namespace WHERE nspname = home) THEN
            EXECUTE format('REVOKE ALL ON SCHEMA %I FROM hexbite_reader, hexbite_loader', home);
        END IF;
    END IF;
    -- What comes after this revision is made there.
    PERFORM set_config('search_path', quote_ident(own), false);
END
$$;
