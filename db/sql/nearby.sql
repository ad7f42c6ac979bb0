-- The user's features and every restaurant in a cover, in one statement and so in one snapshot.
--
-- Parameters: $1 fingerprint of the model's schema, $2 user_id, $3 and $4 the cover's lowest and highest cells.
-- Columns:    restaurant_id, latitude, longitude, features (wire form of real[]).
--             The one row without a restaurant_id is the user; its features are NULL for an unknown user.
--             No row at all: no such schema in this store.
-- Index:      restaurants_by_cell, one range scan an interval. OFFSET 0 keeps the planner from flattening the
--             lateral into a join, which reads the whole table.
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
       SELECT restaurants.restaurant_id, restaurants.latitude, restaurants.longitude, restaurants.features
         FROM restaurants
        WHERE restaurants.schema_id = (SELECT schema_id FROM feature_schemas WHERE fingerprint = $1)
          AND restaurants.h3_cell BETWEEN cover.low AND cover.high
       OFFSET 0
       ) AS found
