-- Drops events and states with their tables. The packed rows become a generated column again: that rewrites restaurants
-- under a lock. The role stays, as those of 0003 do.

DROP FUNCTION tell_events(uuid[], bigint[], bigint[], text[], timestamptz[], double precision[], double precision[], text[],
                          integer[], double precision[]);
DROP FUNCTION drop_months(timestamptz);
DROP FUNCTION make_month(timestamptz);

DROP TRIGGER packed_follows_the_row ON restaurants;
DROP FUNCTION pack_row();

-- What is indexed goes with the column.
ALTER TABLE restaurants DROP COLUMN packed, DROP COLUMN state;
ALTER TABLE restaurants
    ADD COLUMN packed bytea GENERATED ALWAYS AS (
        CASE WHEN cardinality(features) <= 600 THEN pack_restaurant(restaurant_id, latitude, longitude, features) END
    ) STORED;
ALTER TABLE restaurants ALTER COLUMN packed SET STORAGE PLAIN, ALTER COLUMN packed SET STATISTICS 0;
CREATE INDEX restaurants_by_cell ON restaurants (schema_id, h3_cell) INCLUDE (restaurant_id, packed, event_ts);
DROP FUNCTION pack_restaurant(bigint, double precision, double precision, real[], bytea);

DROP TABLE retention, pending_events, event_ids, events, user_states, arrival_states, restaurant_states;

REVOKE INSERT (counters, empty_state), UPDATE (counters, remembered_at) ON feature_schemas FROM hexbite_loader;
ALTER TABLE feature_schemas DROP COLUMN counters, DROP COLUMN empty_state, DROP COLUMN remembered_at;

DO $$
DECLARE
    home name := (SELECT nspname FROM pg_namespace JOIN pg_class ON pg_class.relnamespace = pg_namespace.oid
                   WHERE pg_class.oid = 'restaurants'::regclass);
BEGIN
    IF (SELECT pg_has_role(nspowner, 'USAGE') FROM pg_namespace WHERE nspname = home) THEN
        EXECUTE format('REVOKE ALL ON SCHEMA %I FROM hexbite_teller', home);
    END IF;
END
$$;
