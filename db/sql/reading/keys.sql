-- The company's own ids of some restaurants.
--
-- Parameters: $1 fingerprint of the model's schema, $2 restaurant ids, each once.
-- Columns:    restaurant_id; restaurant_key, NULL where there is no such row or none stands in it.
-- Index:      the primary key of restaurants, once an id.
SELECT asked.id AS restaurant_id,
       (SELECT restaurant_key
          FROM restaurants
         WHERE schema_id = (SELECT schema_id FROM feature_schemas WHERE fingerprint = $1)
           AND restaurant_id = asked.id) AS restaurant_key
  FROM unnest($2::bigint[]) AS asked (id)
