-- The numbers of the zones of some restaurants.
--
-- Parameters: schema_id; ids, of restaurants.
-- Columns:    restaurant_id, zone; no row for one that is not stored.
-- Index:      the primary key of restaurants.
SELECT restaurant_id,
       features[cardinality(features)]::bigint AS zone
  FROM restaurants
 WHERE schema_id = %(schema_id)s
   AND restaurant_id = ANY (%(ids)s::bigint[])
