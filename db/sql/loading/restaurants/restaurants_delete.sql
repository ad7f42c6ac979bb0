-- A full load, first step: rows of the schema that the data folder does not mention any more.
--
-- Parameters: schema_id; rejected, the ids whose row in the folder cannot be stored: their stored one stays.
-- Index:      the primary key of restaurants, by schema.
DELETE FROM restaurants
 WHERE schema_id = %(schema_id)s
   AND NOT EXISTS (SELECT FROM staged_restaurants AS staged WHERE staged.restaurant_id = restaurants.restaurant_id)
   AND restaurant_id NOT IN (SELECT unnest(%(rejected)s::bigint[]))
