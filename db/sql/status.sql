-- What is stored, by schema.
--
-- Columns: fingerprint, registered_at, widths of the three groups, rows and newest event of both tables.
-- Index:   none: it counts every row.
SELECT feature_schemas.fingerprint,
       feature_schemas.registered_at,
       cardinality(feature_schemas.user_features) AS user_width,
       cardinality(feature_schemas.restaurant_features) AS restaurant_width,
       cardinality(feature_schemas.context_features) AS context_width,
       users.stored AS users,
       users.newest AS newest_user,
       restaurants.stored AS restaurants,
       restaurants.newest AS newest_restaurant
  FROM feature_schemas
 CROSS JOIN LATERAL (
       SELECT count(*) AS stored, max(event_ts) AS newest
         FROM users WHERE users.schema_id = feature_schemas.schema_id) AS users
 CROSS JOIN LATERAL (
       SELECT count(*) AS stored, max(event_ts) AS newest
         FROM restaurants WHERE restaurants.schema_id = feature_schemas.schema_id) AS restaurants
 ORDER BY feature_schemas.registered_at, feature_schemas.schema_id
