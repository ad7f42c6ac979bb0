-- A load, fourth step: staged rows that are not stored yet. In the order of cells, so that a neighbourhood sits on few pages.
--
-- Parameters: schema_id.
-- Index:      the primary key of restaurants, by schema.
INSERT INTO restaurants (schema_id, restaurant_id, latitude, longitude, h3_cell, features, event_ts, restaurant_key)
SELECT %(schema_id)s, staged.restaurant_id, staged.latitude, staged.longitude, staged.h3_cell, staged.features,
       coalesce(nullif(staged.event_ts, '-infinity'), now()), staged.restaurant_key
  FROM staged_restaurants AS staged
 WHERE NOT EXISTS (SELECT FROM restaurants WHERE restaurants.schema_id = %(schema_id)s AND restaurants.restaurant_id = staged.restaurant_id)
 ORDER BY staged.h3_cell, staged.restaurant_id
