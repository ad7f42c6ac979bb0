-- What is remembered of some restaurants.
--
-- Parameters: schema_id; ids.
-- Columns:    restaurant_id in ascending order, state; no row where nothing ever happened.
-- Index:      the primary key of restaurant_states.
SELECT restaurant_id, state
  FROM restaurant_states
 WHERE schema_id = %(schema_id)s
   AND restaurant_id = ANY (%(ids)s::bigint[])
 ORDER BY restaurant_id
