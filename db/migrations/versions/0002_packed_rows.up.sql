-- A row as the service reads it, in the index that the service reads it by. Postgres makes it from the columns it
-- stands for, so that it cannot disagree with them. Read value by value from the table, a restaurant costs four times
-- as much: the server turns each feature into an element with a length of its own, the driver each row into a record.

-- Big-endian: restaurant_id int8, latitude float8, longitude float8, then each feature float4.
CREATE FUNCTION pack_restaurant(restaurant_id bigint, latitude double precision, longitude double precision, features real[])
RETURNS bytea LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT int8send(restaurant_id) || float8send(latitude) || float8send(longitude)
           || (SELECT string_agg(float4send(value), NULL ORDER BY place)
                 FROM unnest(features) WITH ORDINALITY AS feature (value, place))
$$;

-- Rewrites the table under a lock: 100,000 restaurants take about a second, and want a VACUUM (ANALYZE) restaurants
-- afterwards (python -m db upgrade ends with one), without which no scan is index-only. NULL where a row is too wide for an index
-- (2,704 bytes at the most): such a row is packed when it is read.
ALTER TABLE restaurants
    ADD COLUMN packed bytea GENERATED ALWAYS AS (
        CASE WHEN cardinality(features) <= 600 THEN pack_restaurant(restaurant_id, latitude, longitude, features) END
    ) STORED;

ALTER TABLE restaurants ALTER COLUMN packed SET STORAGE PLAIN;
ALTER TABLE restaurants ALTER COLUMN packed SET STATISTICS 0;

-- Every read of a neighbourhood, index-only: one range a covering interval.
DROP INDEX restaurants_by_cell;
CREATE INDEX restaurants_by_cell ON restaurants (schema_id, h3_cell) INCLUDE (restaurant_id, packed);

-- How restaurants are spread over cells decides by which way a request is read: a hundred buckets are too few to tell
-- a city's centre from its rim.
ALTER TABLE restaurants ALTER COLUMN h3_cell SET STATISTICS 1000;
