-- Every registered schema that counts something.
--
-- Parameters: none.
-- Columns:    schema_id, fingerprint, counters as in schema.json; is_zoned, whether its restaurants' last feature is their
--             zone; is_made, whether its states are.
-- Index:      none: there are few.
SELECT schema_id,
       fingerprint,
       counters,
       restaurant_features[cardinality(restaurant_features)] = 'time_zone' AS is_zoned,
       remembered_at IS NOT NULL AS is_made
  FROM feature_schemas
 WHERE counters <> '{}'
 ORDER BY schema_id
