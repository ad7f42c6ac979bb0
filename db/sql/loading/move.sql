-- Move a restaurant, position and cell together, in every schema that it has features in. Its features are as old as before.
--
-- Parameters: restaurant_id, what an integer id reads as, NULL for none; hash and restaurant_key, what a text id stands for
--             and the text; latitude, longitude, h3_cell.
-- Columns:    is_text, whether a row's id is the text; a row for each that was moved.
-- Index:      the primary key of restaurants, for each of the few schemas.
UPDATE restaurants
   SET latitude = %(latitude)s,
       longitude = %(longitude)s,
       h3_cell = %(h3_cell)s
 WHERE schema_id IN (SELECT schema_id FROM feature_schemas)
   AND restaurant_id = ANY (ARRAY[%(restaurant_id)s::bigint, %(hash)s::bigint])
   AND (restaurant_id = %(restaurant_id)s::bigint OR restaurant_key = %(restaurant_key)s::text)
RETURNING coalesce(restaurant_key = %(restaurant_key)s::text, false) AS is_text
