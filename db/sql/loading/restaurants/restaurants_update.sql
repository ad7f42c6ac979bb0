-- A load, second step: stored rows that the staged ones differ from. Unchanged rows stay.
--
-- Parameters: schema_id; keep_newer, whether a stored row with a later event wins. A staged event time of -infinity is
--             one that the data does not tell: the load's time, and no difference by itself.
-- Index:      the primary key of restaurants, or one pass over both tables, as they are large or small.
UPDATE restaurants
   SET latitude = staged.latitude,
       longitude = staged.longitude,
       h3_cell = staged.h3_cell,
       features = staged.features,
       event_ts = coalesce(nullif(staged.event_ts, '-infinity'), now()),
       restaurant_key = staged.restaurant_key
  FROM staged_restaurants AS staged
 WHERE restaurants.schema_id = %(schema_id)s
   AND restaurants.restaurant_id = staged.restaurant_id
   AND ((restaurants.latitude, restaurants.longitude, restaurants.h3_cell, restaurants.features)
           IS DISTINCT FROM (staged.latitude, staged.longitude, staged.h3_cell, staged.features)
        OR restaurants.restaurant_key IS DISTINCT FROM staged.restaurant_key
        OR restaurants.event_ts <> nullif(staged.event_ts, '-infinity'))
   AND (NOT %(keep_newer)s OR restaurants.event_ts <= coalesce(nullif(staged.event_ts, '-infinity'), now()))
