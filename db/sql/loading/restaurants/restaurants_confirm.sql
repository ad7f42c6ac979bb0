-- A load, third step: unchanged rows of which the data tells no event time get the load's, since it found them so. Rows
-- that restaurants_update.sql changed have it by now.
--
-- Parameters: schema_id; keep_newer, whether a stored row with a later event wins.
-- Index:      the primary key of restaurants, or one pass over both tables, as they are large or small.
UPDATE restaurants
   SET event_ts = now()
  FROM staged_restaurants AS staged
 WHERE restaurants.schema_id = %(schema_id)s
   AND restaurants.restaurant_id = staged.restaurant_id
   AND staged.event_ts = '-infinity'
   AND restaurants.event_ts <> now()
   AND (NOT %(keep_newer)s OR restaurants.event_ts < now())
