-- How many staged rows tell of an earlier event than the stored ones do, and so will not replace them.
--
-- Parameters: schema_id.
-- Columns:    older.
-- Index:      the primary key of restaurants, or one pass over both tables.
SELECT count(*) AS older
  FROM staged_restaurants AS staged
  JOIN restaurants USING (restaurant_id)
 WHERE restaurants.schema_id = %(schema_id)s
   AND restaurants.event_ts > coalesce(nullif(staged.event_ts, '-infinity'), now())
