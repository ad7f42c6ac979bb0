-- The registered schema of a model, and with it whether the store can serve that model.
--
-- Parameters: $1 fingerprint.
-- Columns:    user_fills, restaurant_fills; remembered_at, NULL where its states are not made yet; no row where no such schema is registered.
-- Index:      the unique index on fingerprint.
SELECT user_fills, restaurant_fills, remembered_at
  FROM feature_schemas
 WHERE fingerprint = $1
