-- As nearby.sql, for those restaurants of the cover that the request names.
--
-- Parameters: $1 fingerprint, $2 user_id, $3 and $4 the cover's lowest and highest cells, $5 the candidates' ids.
-- Columns:    as nearby.sql.
-- Index:      restaurants_by_cell, index-only, one range scan an interval: it includes the id, so that rows are
--             fetched (by primary key) for candidates in the cover alone. = ANY is hashed in a custom plan only.
SELECT NULL::bigint AS restaurant_id,
       NULL::double precision AS latitude,
       NULL::double precision AS longitude,
       array_send(users.features) AS features
  FROM feature_schemas
  LEFT JOIN users ON users.schema_id = feature_schemas.schema_id
                 AND users.user_id = $2
 WHERE feature_schemas.fingerprint = $1
 UNION ALL
SELECT found.restaurant_id, found.latitude, found.longitude, array_send(found.features)
  FROM unnest($3::bigint[], $4::bigint[]) AS cover (low, high)
 CROSS JOIN LATERAL (
       SELECT restaurants.schema_id, restaurants.restaurant_id
         FROM restaurants
        WHERE restaurants.schema_id = (SELECT schema_id FROM feature_schemas WHERE fingerprint = $1)
          AND restaurants.h3_cell BETWEEN cover.low AND cover.high
          AND restaurants.restaurant_id = ANY ($5::bigint[])
       OFFSET 0
       ) AS inside
 CROSS JOIN LATERAL (
       SELECT restaurants.restaurant_id, restaurants.latitude, restaurants.longitude, restaurants.features
         FROM restaurants
        WHERE restaurants.schema_id = inside.schema_id
          AND restaurants.restaurant_id = inside.restaurant_id
       OFFSET 0
       ) AS found
