-- Where people went to from some restaurants.
--
-- Parameters: schema_id; ids, of the restaurants come from.
-- Columns:    restaurant_id in ascending order, places; no row where nobody went on from.
-- Index:      the primary key of arrival_states.
SELECT restaurant_id, places
  FROM arrival_states
 WHERE schema_id = %(schema_id)s
   AND restaurant_id = ANY (%(ids)s::bigint[])
 ORDER BY restaurant_id
