-- Move a restaurant, position and cell together, in every schema that it has features in. Its features are as old as before.
--
-- Parameters: restaurant_id, latitude, longitude, h3_cell.
-- Index:      the primary key of restaurants, for each of the few schemas.
UPDATE restaurants
   SET latitude = %(latitude)s,
       longitude = %(longitude)s,
       h3_cell = %(h3_cell)s
 WHERE schema_id IN (SELECT schema_id FROM feature_schemas)
   AND restaurant_id = %(restaurant_id)s
