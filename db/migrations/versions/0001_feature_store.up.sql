-- The feature store: registered schemas, users, and restaurants keyed by their H3 cell.

CREATE TABLE feature_schemas (
    schema_id           integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    fingerprint         text NOT NULL UNIQUE,
    user_features       text[] NOT NULL,
    restaurant_features text[] NOT NULL,
    context_features    text[] NOT NULL,
    user_fills          real[] NOT NULL,
    restaurant_fills    real[] NOT NULL,
    registered_at       timestamptz NOT NULL DEFAULT now(),

    CONSTRAINT fingerprint_is_64_hex_digits CHECK (fingerprint ~ '^[0-9a-f]{64}$'),
    CONSTRAINT user_features_is_a_plain_list_of_names CHECK (
        (array_ndims(user_features) = 1 AND array_lower(user_features, 1) = 1
         AND array_position(user_features, NULL) IS NULL) IS TRUE),
    CONSTRAINT restaurant_features_is_a_plain_list_of_names CHECK (
        (array_ndims(restaurant_features) = 1 AND array_lower(restaurant_features, 1) = 1
         AND array_position(restaurant_features, NULL) IS NULL) IS TRUE),
    CONSTRAINT context_features_is_a_plain_list_of_names CHECK (
        (cardinality(context_features) = 0
         OR array_ndims(context_features) = 1 AND array_lower(context_features, 1) = 1
            AND array_position(context_features, NULL) IS NULL) IS TRUE),
    -- A fill may be NULL (a missing value is an error), but not NaN or infinite.
    CONSTRAINT user_fills_match_user_features CHECK (
        (array_ndims(user_fills) = 1 AND array_lower(user_fills, 1) = 1
         AND cardinality(user_fills) = cardinality(user_features)) IS TRUE
        AND ('Infinity'::real > ALL (user_fills) AND '-Infinity'::real < ALL (user_fills)) IS NOT FALSE),
    CONSTRAINT restaurant_fills_match_restaurant_features CHECK (
        (array_ndims(restaurant_fills) = 1 AND array_lower(restaurant_fills, 1) = 1
         AND cardinality(restaurant_fills) = cardinality(restaurant_features)) IS TRUE
        AND ('Infinity'::real > ALL (restaurant_fills) AND '-Infinity'::real < ALL (restaurant_fills)) IS NOT FALSE)
);

COMMENT ON TABLE feature_schemas IS
    'What the features of users and restaurants mean: ordered names by group, found by the fingerprint of these alone.';

-- Rows are read as the wire form of real[], whose elements are found by position: one dimension from 1, no NULL.
-- Postgres sorts NaN above infinity, so NaN fails the comparison too, and a NULL element makes it NULL.

CREATE TABLE users (
    schema_id integer NOT NULL REFERENCES feature_schemas,
    user_id   bigint NOT NULL,
    features  real[] NOT NULL,
    event_ts  timestamptz NOT NULL DEFAULT now(),

    PRIMARY KEY (schema_id, user_id),
    CONSTRAINT features_are_finite_and_not_null CHECK (
        ('Infinity'::real > ALL (features) AND '-Infinity'::real < ALL (features)) IS TRUE),
    CONSTRAINT features_is_a_plain_list CHECK ((array_ndims(features) = 1 AND array_lower(features, 1) = 1) IS TRUE),
    CONSTRAINT event_ts_is_a_time CHECK (isfinite(event_ts))
);

CREATE TABLE restaurants (
    schema_id     integer NOT NULL REFERENCES feature_schemas,
    restaurant_id bigint NOT NULL,
    latitude      double precision NOT NULL,
    longitude     double precision NOT NULL,
    h3_cell       bigint NOT NULL,
    features      real[] NOT NULL,
    event_ts      timestamptz NOT NULL DEFAULT now(),

    PRIMARY KEY (schema_id, restaurant_id),
    CONSTRAINT latitude_is_in_range CHECK (latitude BETWEEN -90 AND 90),
    CONSTRAINT longitude_is_in_range CHECK (longitude BETWEEN -180 AND 180),
    -- Bits, high to low: 1 reserved (0), 4 mode (1), 3 reserved (0), 4 resolution (15): 0x08F together;
    -- 7 base cell (0..121); fifteen digits of 3 bits (0..6). A digit is 7 where all three of its bits are set:
    -- 5026338869833 has the lowest bit of each digit.
    CONSTRAINT h3_cell_is_a_cell_of_resolution_15 CHECK (
        h3_cell >> 52 = 143
        AND (h3_cell >> 45) & 127 < 122
        AND h3_cell & (h3_cell >> 1) & (h3_cell >> 2) & 5026338869833 = 0),
    -- Below the twelve pentagons no first non-zero digit is 1: the low 45 bits lie in no interval [8^k, 2 * 8^k).
    CONSTRAINT h3_cell_is_in_no_gap_of_a_pentagon CHECK (
        (h3_cell >> 45) & 127 NOT IN (4, 14, 24, 38, 49, 58, 63, 72, 83, 97, 107, 117)
        OR width_bucket(h3_cell & 35184372088831, ARRAY[
               1, 2, 8, 16, 64, 128, 512, 1024, 4096, 8192, 32768, 65536, 262144, 524288, 2097152, 4194304,
               16777216, 33554432, 134217728, 268435456, 1073741824, 2147483648, 8589934592, 17179869184,
               68719476736, 137438953472, 549755813888, 1099511627776, 4398046511104, 8796093022208
           ]::bigint[]) % 2 = 0),
    CONSTRAINT features_are_finite_and_not_null CHECK (
        ('Infinity'::real > ALL (features) AND '-Infinity'::real < ALL (features)) IS TRUE),
    CONSTRAINT features_is_a_plain_list CHECK ((array_ndims(features) = 1 AND array_lower(features, 1) = 1) IS TRUE),
    CONSTRAINT event_ts_is_a_time CHECK (isfinite(event_ts))
);

COMMENT ON COLUMN restaurants.h3_cell IS
    'The position''s H3 cell at resolution 15, with the bits of h3-pg''s h3index; changes with the position alone.';

-- Every read of a neighbourhood: one range a covering interval. It includes the id for index-only scans.
CREATE INDEX restaurants_by_cell ON restaurants (schema_id, h3_cell) INCLUDE (restaurant_id);

-- Nobody filters on features: spare ANALYZE the sampling of their elements.
ALTER TABLE users ALTER COLUMN features SET STATISTICS 0;
ALTER TABLE restaurants ALTER COLUMN features SET STATISTICS 0;

-- A registered schema is what rows, models and fingerprints rely on: a change is a new schema. Fills may change.
CREATE FUNCTION refuse_schema_change() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    RAISE EXCEPTION 'the names, groups, order and fingerprint of registered feature schema % cannot change', OLD.schema_id
        USING ERRCODE = 'check_violation',
              TABLE = TG_TABLE_NAME,
              HINT = 'Load the data with the new features: python -m db load DIR registers them as a schema of their own.';
END
$$;

CREATE TRIGGER schema_is_immutable
    BEFORE UPDATE ON feature_schemas FOR EACH ROW
    WHEN ((OLD.schema_id, OLD.fingerprint, OLD.user_features, OLD.restaurant_features, OLD.context_features)
          IS DISTINCT FROM
          (NEW.schema_id, NEW.fingerprint, NEW.user_features, NEW.restaurant_features, NEW.context_features))
    EXECUTE FUNCTION refuse_schema_change();

-- The width of a row is that of its schema. Once a statement over all of its rows, so that bulk loads stay fast.
CREATE FUNCTION refuse_user_width() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    wrong record;
BEGIN
    SELECT written.user_id, cardinality(written.features) AS width,
           cardinality(feature_schemas.user_features) AS wanted, feature_schemas.fingerprint
      INTO wrong
      FROM written
      JOIN feature_schemas ON feature_schemas.schema_id = written.schema_id
     WHERE cardinality(written.features) <> cardinality(feature_schemas.user_features)
     LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'user % has % features, its schema % has %',
                        wrong.user_id, wrong.width, left(wrong.fingerprint, 12), wrong.wanted
            USING ERRCODE = 'check_violation',
                  TABLE = TG_TABLE_NAME,
                  COLUMN = 'features',
                  HINT = 'The names, in order: SELECT user_features FROM feature_schemas.';
    END IF;
    RETURN NULL;
END
$$;

CREATE FUNCTION refuse_restaurant_width() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    wrong record;
BEGIN
    SELECT written.restaurant_id, cardinality(written.features) AS width,
           cardinality(feature_schemas.restaurant_features) AS wanted, feature_schemas.fingerprint
      INTO wrong
      FROM written
      JOIN feature_schemas ON feature_schemas.schema_id = written.schema_id
     WHERE cardinality(written.features) <> cardinality(feature_schemas.restaurant_features)
     LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'restaurant % has % features, its schema % has %',
                        wrong.restaurant_id, wrong.width, left(wrong.fingerprint, 12), wrong.wanted
            USING ERRCODE = 'check_violation',
                  TABLE = TG_TABLE_NAME,
                  COLUMN = 'features',
                  HINT = 'The names, in order: SELECT restaurant_features FROM feature_schemas.';
    END IF;
    RETURN NULL;
END
$$;

-- One trigger an event: a trigger with a transition table cannot serve two.
CREATE TRIGGER inserted_width_is_the_schemas
    AFTER INSERT ON users REFERENCING NEW TABLE AS written
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_user_width();
CREATE TRIGGER updated_width_is_the_schemas
    AFTER UPDATE ON users REFERENCING NEW TABLE AS written
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_user_width();
CREATE TRIGGER inserted_width_is_the_schemas
    AFTER INSERT ON restaurants REFERENCING NEW TABLE AS written
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_restaurant_width();
CREATE TRIGGER updated_width_is_the_schemas
    AFTER UPDATE ON restaurants REFERENCING NEW TABLE AS written
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_restaurant_width();

-- Position and cell change together or not at all: SQL cannot compute a cell, and a stale one hides the restaurant
-- from where it now is. Who computed the cell from the position (a move of half a metre may keep it, a wrong cell is
-- mended where the place stays) says so for the transaction: SET LOCAL hexbite.cells_are_computed = 'on'.
CREATE FUNCTION refuse_stale_cell() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    IF current_setting('hexbite.cells_are_computed', true) = 'on' THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'restaurant % would have a stale h3_cell: latitude, longitude and h3_cell change together',
                    OLD.restaurant_id
        USING ERRCODE = 'check_violation',
              TABLE = TG_TABLE_NAME,
              COLUMN = 'h3_cell',
              HINT = format('python -m db move %s %s %s', OLD.restaurant_id, NEW.latitude, NEW.longitude);
END
$$;

CREATE TRIGGER cell_follows_position
    BEFORE UPDATE ON restaurants FOR EACH ROW
    WHEN (((OLD.latitude, OLD.longitude) IS DISTINCT FROM (NEW.latitude, NEW.longitude))
          <> (OLD.h3_cell IS DISTINCT FROM NEW.h3_cell))
    EXECUTE FUNCTION refuse_stale_cell();
