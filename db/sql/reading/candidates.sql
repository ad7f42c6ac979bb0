-- The user's features and, of few candidates, those that exist.
--
-- Parameters: $1 fingerprint of the model's schema, $2 user_id, $3 the candidates' ids, each once.
-- Columns:    as nearby.sql.
-- Index:      the primary key of restaurants, once a candidate. (= ANY over the list is no faster, and without
--             statistics it becomes a filter on every row of the schema.)
SELECT feature_schemas.schema_id,
       array_send(users.features) AS packed,
       timestamptz_send(now()) || coalesce(timestamptz_send(users.event_ts), '') AS times
  FROM feature_schemas
  LEFT JOIN users ON users.schema_id = feature_schemas.schema_id
                 AND users.user_id = $2
 WHERE feature_schemas.fingerprint = $1
 UNION ALL
SELECT NULL,
       string_agg(
           (SELECT coalesce(packed, pack_restaurant(restaurant_id, latitude, longitude, features, state))
                   || timestamptz_send(event_ts)
              FROM restaurants
             WHERE schema_id = (SELECT schema_id FROM feature_schemas WHERE fingerprint = $1)
               AND restaurant_id = candidate.id),
           NULL),
       NULL
  FROM unnest($3::bigint[]) AS candidate (id)
