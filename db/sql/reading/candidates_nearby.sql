-- The user's features and, of many candidates, those in a cover.
--
-- Parameters: $1 to $4 as nearby.sql; $5 a bit for each number below $6, set where it is |id % $6| of a candidate.
-- Columns:    as nearby.sql. Among the restaurants are some that are no candidates, but share the bit of one.
-- Index:      as nearby.sql; a bit is looked up for each entry where a list would be searched: = ANY is hashed in a
--             custom plan only, and to plan it takes longer than this whole read.
SELECT feature_schemas.schema_id,
       array_send(users.features) AS packed,
       timestamptz_send(now()) || coalesce(timestamptz_send(users.event_ts), '') AS times
  FROM feature_schemas
  LEFT JOIN users ON users.schema_id = feature_schemas.schema_id
                 AND users.user_id = $2
 WHERE feature_schemas.fingerprint = $1
 UNION ALL
SELECT NULL,
       (SELECT string_agg(
                   coalesce(
                       near.packed,
                       (SELECT pack_restaurant(wide.restaurant_id, wide.latitude, wide.longitude, wide.features, wide.state)
                          FROM restaurants AS wide
                         WHERE wide.schema_id = near.schema_id
                           AND wide.restaurant_id = near.restaurant_id))
                   || timestamptz_send(near.event_ts),
                   NULL)
          FROM restaurants AS near
         WHERE near.schema_id = (SELECT schema_id FROM feature_schemas WHERE fingerprint = $1)
           AND near.h3_cell BETWEEN cover.low AND cover.high
           AND get_bit($5::bytea, abs(near.restaurant_id % $6::bigint)) = 1),
       NULL
  FROM unnest($3::bigint[], $4::bigint[]) AS cover (low, high)
