-- What people did (ADR 17): events are the truth, states are what counters have made of them, and what was told but is not
-- in the states yet is pending. One transaction of short steps: no table is rewritten and no index is built.

-- Who tells events: a role that may do that and nothing else. As revision 0003 makes the others.
DO $$
DECLARE
    missing text[] := '{}';
BEGIN
    BEGIN
        IF to_regrole('hexbite_teller') IS NULL THEN
            CREATE ROLE hexbite_teller NOLOGIN;
        END IF;
    EXCEPTION
        WHEN duplicate_object OR unique_violation THEN
            NULL; -- the migrator of another database was faster
        WHEN insufficient_privilege THEN
            missing := missing || 'CREATE ROLE hexbite_teller NOLOGIN;'::text;
    END;
    IF pg_has_role(current_user, to_regrole('hexbite_teller')::oid,
                   CASE WHEN current_setting('server_version_num')::integer >= 160000 THEN 'SET' ELSE 'MEMBER' END)
       IS NOT TRUE THEN
        BEGIN
            GRANT hexbite_teller TO CURRENT_USER;
        EXCEPTION
            WHEN unique_violation THEN
                NULL; -- as above
            WHEN insufficient_privilege OR undefined_object THEN
                missing := missing || format('GRANT hexbite_teller TO %I;', current_user);
        END;
    END IF;
    IF missing <> '{}' THEN
        RAISE EXCEPTION 'user % lacks the CREATEROLE attribute or the ADMIN option for the role of this revision; nothing was changed', current_user
            USING ERRCODE = 'insufficient_privilege',
                  HINT = 'A DBA has to run this first, in any database of the server: ' || array_to_string(missing, ' ');
    END IF;
END
$$;

-- For the rest of this transaction: what the functions below pin must not be led astray by somebody's temporary tables.
SELECT set_config('search_path', format('%I, pg_temp', pg_namespace.nspname), true)
  FROM pg_class
  JOIN pg_namespace ON pg_namespace.oid = pg_class.relnamespace
 WHERE pg_class.oid = 'restaurants'::regclass;

ALTER TABLE feature_schemas
    ADD COLUMN counters jsonb NOT NULL DEFAULT '{}',
    ADD COLUMN empty_state bytea NOT NULL DEFAULT '',
    ADD COLUMN remembered_at timestamptz,
    ADD CONSTRAINT counters_is_an_object CHECK (jsonb_typeof(counters) = 'object'),
    ADD CONSTRAINT empty_state_is_of_float8 CHECK (octet_length(empty_state) % 8 = 0);

COMMENT ON COLUMN feature_schemas.counters IS 'What is counted, as in schema.json; {} for nothing.';
COMMENT ON COLUMN feature_schemas.empty_state IS 'The state of a restaurant where nothing ever happened: float8, little-endian.';
COMMENT ON COLUMN feature_schemas.remembered_at IS
    'When events last went into the states of this schema; NULL where its states are not made yet: python -m db refresh.';

-- States are float8, little-endian, in the order of the counters' layout. Bytes of numbers hardly compress: EXTERNAL.

CREATE TABLE restaurant_states (
    schema_id     integer NOT NULL REFERENCES feature_schemas,
    restaurant_id bigint NOT NULL,
    state         bytea NOT NULL,

    PRIMARY KEY (schema_id, restaurant_id),
    CONSTRAINT state_is_of_float8 CHECK (octet_length(state) % 8 = 0)
);

-- A restaurant that people came from: an entry of (int8 id, float8 state) for each that they went to next, by id.
CREATE TABLE arrival_states (
    schema_id     integer NOT NULL REFERENCES feature_schemas,
    restaurant_id bigint NOT NULL,
    places        bytea NOT NULL,

    PRIMARY KEY (schema_id, restaurant_id),
    CONSTRAINT places_is_of_eight_bytes CHECK (octet_length(places) % 8 = 0)
);

-- A person: a state of its own, the restaurant that it was at last, and an entry for each restaurant that it knows.
CREATE TABLE user_states (
    schema_id   integer NOT NULL REFERENCES feature_schemas,
    user_id     bigint NOT NULL,
    state       bytea NOT NULL,
    previous_id bigint,
    previous_ts timestamptz,
    places      bytea NOT NULL,

    PRIMARY KEY (schema_id, user_id),
    CONSTRAINT state_is_of_float8 CHECK (octet_length(state) % 8 = 0),
    CONSTRAINT places_is_of_eight_bytes CHECK (octet_length(places) % 8 = 0),
    CONSTRAINT previous_is_a_place_and_a_time CHECK ((previous_id IS NULL) = (previous_ts IS NULL)),
    CONSTRAINT previous_ts_is_in_the_calendar
        CHECK (previous_ts >= '0001-01-01 00:00:00+00' AND previous_ts < '10000-01-01 00:00:00+00')
);

ALTER TABLE restaurant_states ALTER COLUMN state SET STORAGE EXTERNAL;
ALTER TABLE arrival_states ALTER COLUMN places SET STORAGE EXTERNAL;
ALTER TABLE user_states ALTER COLUMN places SET STORAGE EXTERNAL;

-- What happened, once each, a partition a month; event_ids says what is known already, whatever its time.
CREATE TABLE events (
    event_id      uuid NOT NULL,
    user_id       bigint NOT NULL,
    restaurant_id bigint NOT NULL,
    kind          text NOT NULL,
    event_ts      timestamptz NOT NULL,
    latitude      double precision,
    longitude     double precision,
    request_id    text,
    position      integer,
    value         double precision,
    told_at       timestamptz NOT NULL DEFAULT now(),

    CONSTRAINT kind_is_a_name CHECK (octet_length(kind) BETWEEN 1 AND 128),
    CONSTRAINT event_ts_is_in_the_calendar
        CHECK (event_ts >= '0001-01-01 00:00:00+00' AND event_ts < '10000-01-01 00:00:00+00'),
    CONSTRAINT latitude_is_in_range CHECK (latitude BETWEEN -90 AND 90),
    CONSTRAINT longitude_is_in_range CHECK (longitude BETWEEN -180 AND 180),
    CONSTRAINT coordinates_come_together CHECK ((latitude IS NULL) = (longitude IS NULL)),
    CONSTRAINT request_id_is_an_id CHECK (octet_length(request_id) BETWEEN 1 AND 128),
    CONSTRAINT position_is_a_place_in_a_list CHECK (position >= 0),
    -- NaN is sorted above infinity.
    CONSTRAINT value_is_finite CHECK (value > '-Infinity' AND value < 'Infinity')
) PARTITION BY RANGE (event_ts);

-- A person's events around a moment, and all of them in order.
CREATE INDEX events_by_user ON events (user_id, event_ts);

CREATE TABLE event_ids (
    event_id uuid PRIMARY KEY,
    event_ts timestamptz NOT NULL
);

CREATE TABLE pending_events (
    event_id      uuid NOT NULL,
    user_id       bigint NOT NULL,
    restaurant_id bigint NOT NULL,
    kind          text NOT NULL,
    event_ts      timestamptz NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_insert_scale_factor = 0);

-- What a request adds to the states of its person.
CREATE INDEX pending_events_by_user ON pending_events (user_id);

COMMENT ON TABLE pending_events IS 'Events that are told and not in the states yet: python -m db refresh.';

-- One row: from when on events are kept. Who changes states locks it, so that one at a time does.
CREATE TABLE retention (
    is_only    boolean PRIMARY KEY DEFAULT true,
    kept_since timestamptz NOT NULL DEFAULT '-infinity',

    CONSTRAINT there_is_one CHECK (is_only)
);
INSERT INTO retention DEFAULT VALUES;

-- A month of events where there is none yet. As a table of its own that becomes a partition: to make it as one would
-- wait for everybody who reads or writes events, and everybody for it.
CREATE FUNCTION make_month(moment timestamptz) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    first timestamp := date_trunc('month', moment AT TIME ZONE 'UTC');
    month text := 'events_' || to_char(first, 'YYYY_MM');
BEGIN
    IF to_regclass(month) IS NOT NULL THEN
        RETURN;
    END IF;
    IF moment < '0001-01-01 00:00:00+00' OR moment >= '10000-01-01 00:00:00+00' THEN
        RAISE EXCEPTION 'an event at % lies before year 1 or after year 9999', moment USING ERRCODE = 'check_violation';
    END IF;
    -- Whoever else makes one is waited for, and then seen: to_regclass remembers what there was not.
    PERFORM pg_advisory_xact_lock('events'::regclass::bigint);
    IF NOT EXISTS (SELECT FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
                    WHERE inhparent = 'events'::regclass AND relname = month) THEN
        EXECUTE format('CREATE TABLE %I (LIKE events INCLUDING DEFAULTS INCLUDING CONSTRAINTS) USING heap', month);
        EXECUTE format('ALTER TABLE events ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', month,
                       to_char(first, 'YYYY-MM-DD') || ' 00:00:00+00',
                       to_char(first + interval '1 month', 'YYYY-MM-DD') || ' 00:00:00+00');
    END IF;
END
$$;

-- Months that are over at a moment, dropped whole.
CREATE FUNCTION drop_months(bound timestamptz) RETURNS SETOF text
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    month text;
BEGIN
    FOR month IN
        SELECT relname FROM pg_class JOIN pg_inherits ON inhrelid = pg_class.oid
         WHERE inhparent = 'events'::regclass
           AND to_date(right(relname, 7), 'YYYY_MM') + interval '1 month' <= bound AT TIME ZONE 'UTC'
         ORDER BY relname
    LOOP
        EXECUTE format('DROP TABLE %I', month);
        RETURN NEXT month;
    END LOOP;
END
$$;

-- Tell events, each once by its id whatever its time: those that were new. One statement inserts them all, in the order of
-- their ids, so that two who tell the same never wait for each other in a circle. An event from before the bound of
-- retention is error HX001, with the bound as DETAIL, and nothing is told.
CREATE FUNCTION tell_events(
    event_ids uuid[], user_ids bigint[], restaurant_ids bigint[], kinds text[], times timestamptz[],
    latitudes double precision[], longitudes double precision[], request_ids text[], positions integer[],
    vals double precision[]
) RETURNS TABLE (event_id uuid)
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
#variable_conflict use_column
DECLARE
    bound timestamptz;
    month timestamptz;
BEGIN
    SELECT kept_since INTO bound FROM retention;
    IF bound > ANY (times) THEN
        RAISE EXCEPTION 'events before % are not kept any more', bound
            USING ERRCODE = 'HX001', DETAIL = to_char(bound AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"');
    END IF;
    FOR month IN
        SELECT DISTINCT date_trunc('month', moment AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' AS month
          FROM unnest(times) AS moment
         ORDER BY month
    LOOP
        PERFORM make_month(month);
    END LOOP;
    RETURN QUERY
    WITH told AS (
        SELECT DISTINCT ON (id) *
          FROM unnest(event_ids, user_ids, restaurant_ids, kinds, times,
                      latitudes, longitudes, request_ids, positions, vals)
               WITH ORDINALITY AS told (id, user_id, restaurant_id, kind, event_ts,
                                        latitude, longitude, request_id, position, value, place)
         ORDER BY id, place
    ), fresh AS (
        INSERT INTO event_ids (event_id, event_ts)
        SELECT id, event_ts FROM told ORDER BY id
            ON CONFLICT DO NOTHING
        RETURNING event_id
    ), kept AS (
        INSERT INTO events (event_id, user_id, restaurant_id, kind, event_ts,
                            latitude, longitude, request_id, position, value)
        SELECT id, user_id, restaurant_id, kind, event_ts, latitude, longitude, request_id, position, value
          FROM told JOIN fresh ON fresh.event_id = told.id
    ), waiting AS (
        INSERT INTO pending_events (event_id, user_id, restaurant_id, kind, event_ts)
        SELECT id, user_id, restaurant_id, kind, event_ts
          FROM told JOIN fresh ON fresh.event_id = told.id
    )
    SELECT event_id FROM fresh;
END
$$;

REVOKE EXECUTE ON FUNCTION make_month(timestamptz), drop_months(timestamptz) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION tell_events(uuid[], bigint[], bigint[], text[], timestamptz[], double precision[],
                                       double precision[], text[], integer[], double precision[]) FROM PUBLIC;

-- A restaurant's state stands in its row, and at the end of its packed row: read with it. That was a generated column, and
-- to generate it from one column more would rewrite the table under a lock; so from here on a trigger makes it.

CREATE FUNCTION pack_restaurant(
    restaurant_id bigint, latitude double precision, longitude double precision, features real[], state bytea
) RETURNS bytea LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT int8send(restaurant_id) || float8send(latitude) || float8send(longitude)
           || (SELECT string_agg(float4send(value), NULL ORDER BY place)
                 FROM unnest(features) WITH ORDINALITY AS feature (value, place))
           || state
$$;

ALTER TABLE restaurants
    ADD COLUMN state bytea NOT NULL DEFAULT '',
    ALTER COLUMN state SET STORAGE EXTERNAL,
    ALTER COLUMN state SET STATISTICS 0,
    ALTER COLUMN packed DROP EXPRESSION;

COMMENT ON COLUMN restaurants.state IS 'What was counted here, as in restaurant_states at the last refresh: float8, little-endian.';
COMMENT ON COLUMN restaurants.packed IS
    'The row as it is read, made from its other columns by a trigger; NULL where it is too wide for an index.';

-- 2,424 bytes are what 600 features take; beyond, a row is packed when it is read. A new row takes the state that is
-- remembered of the restaurant; one of another length than its schema's would be read as something else.
CREATE FUNCTION pack_row() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    empty bytea := (SELECT empty_state FROM feature_schemas WHERE feature_schemas.schema_id = NEW.schema_id);
BEGIN
    IF TG_OP = 'INSERT' AND empty <> '' THEN
        NEW.state := coalesce((SELECT remembered.state FROM restaurant_states AS remembered
                                WHERE remembered.schema_id = NEW.schema_id
                                  AND remembered.restaurant_id = NEW.restaurant_id), empty);
    END IF;
    IF octet_length(NEW.state) <> octet_length(empty) THEN
        RAISE EXCEPTION 'restaurant % would have a state of % bytes, its schema has %',
                        NEW.restaurant_id, octet_length(NEW.state), octet_length(empty)
            USING ERRCODE = 'check_violation',
                  TABLE = TG_TABLE_NAME,
                  COLUMN = 'state',
                  HINT = 'States are made by: python -m db refresh.';
    END IF;
    NEW.packed := CASE WHEN 24 + 4 * cardinality(NEW.features) + octet_length(NEW.state) <= 2424
                       THEN pack_restaurant(NEW.restaurant_id, NEW.latitude, NEW.longitude, NEW.features, NEW.state) END;
    RETURN NEW;
END
$$;

CREATE TRIGGER packed_follows_the_row
    BEFORE INSERT OR UPDATE OF schema_id, restaurant_id, latitude, longitude, features, state, packed
    ON restaurants FOR EACH ROW EXECUTE FUNCTION pack_row();

-- The reader: what a request reads of one person and of the place that it comes from.
GRANT SELECT ON user_states, arrival_states, pending_events TO hexbite_reader;

-- The loader: backfills, refreshes, forgets, lets events go. Of a schema what is counted, and when.
GRANT SELECT, INSERT, UPDATE, DELETE
   ON restaurant_states, arrival_states, user_states, events, event_ids, pending_events TO hexbite_loader;
GRANT SELECT, UPDATE ON retention TO hexbite_loader;
GRANT INSERT (counters, empty_state), UPDATE (counters, remembered_at) ON feature_schemas TO hexbite_loader;
GRANT EXECUTE ON FUNCTION make_month(timestamptz), drop_months(timestamptz) TO hexbite_loader;

GRANT EXECUTE ON FUNCTION pack_restaurant(bigint, double precision, double precision, real[], bytea)
   TO hexbite_reader, hexbite_loader;

GRANT EXECUTE ON FUNCTION tell_events(uuid[], bigint[], bigint[], text[], timestamptz[], double precision[],
                                      double precision[], text[], integer[], double precision[]) TO hexbite_teller;

DO $$
DECLARE
    home name := current_schema();
    owns_home boolean := (SELECT pg_has_role(nspowner, 'USAGE') FROM pg_namespace WHERE nspname = current_schema());
BEGIN
    IF owns_home THEN
        EXECUTE format('GRANT USAGE ON SCHEMA %I TO hexbite_teller', home);
    ELSIF NOT has_schema_privilege('hexbite_teller', home, 'USAGE') THEN
        RAISE EXCEPTION 'user % may not let the role of this revision into schema %; nothing was changed', current_user, home
            USING ERRCODE = 'insufficient_privilege',
                  HINT = format('Its owner has to run this first: GRANT USAGE ON SCHEMA %I TO hexbite_teller;', home);
    END IF;
    IF current_setting('server_version_num')::integer >= 170000 THEN
        EXECUTE 'GRANT MAINTAIN ON restaurant_states, arrival_states, user_states, events, event_ids, pending_events TO hexbite_loader'; -- older ones cannot parse it
    END IF;
END
$$;
