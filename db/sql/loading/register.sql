-- Register a feature schema, or find it by its fingerprint; the fills, and how far counters may lag, are those of the last
-- load.
--
-- Parameters: fingerprint; user, restaurant and context, the names in order; user_fills and restaurant_fills; counters, as in
--             schema.json; empty_state, of a restaurant where nothing ever happened.
-- Columns:    schema_id.
-- Index:      the unique index on fingerprint.
INSERT INTO feature_schemas
       (fingerprint, user_features, restaurant_features, context_features, user_fills, restaurant_fills, counters, empty_state)
VALUES (%(fingerprint)s, %(user)s, %(restaurant)s, %(context)s, %(user_fills)s, %(restaurant_fills)s, %(counters)s,
        %(empty_state)s)
    ON CONFLICT (fingerprint) DO UPDATE
   SET user_fills = excluded.user_fills,
       restaurant_fills = excluded.restaurant_fills,
       counters = excluded.counters
RETURNING schema_id
