-- Staged rows whose id is stored for another text: two texts with one hash, which cannot both be kept.
--
-- Parameters: schema_id.
-- Columns:    ours, the staged text; theirs, the stored one.
-- Index:      the primary key of restaurants, or one pass over both tables, as they are large or small.
SELECT staged.restaurant_key AS ours,
       restaurants.restaurant_key AS theirs
  FROM staged_restaurants AS staged
  JOIN restaurants USING (restaurant_id)
 WHERE restaurants.schema_id = %(schema_id)s
   AND restaurants.restaurant_key <> staged.restaurant_key
 ORDER BY staged.restaurant_key
 LIMIT 1000
