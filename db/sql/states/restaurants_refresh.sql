-- The states of some restaurants into the rows that requests read; of those that have a row.
--
-- Parameters: schema_id; ids; states end to end, of state_bytes each.
-- Index:      the primary key of restaurants.
UPDATE restaurants
   SET state = told.state
  FROM (SELECT id,
               substring(%(states)b::bytea FROM (place::integer - 1) * %(state_bytes)s::integer + 1 FOR %(state_bytes)s::integer)
          FROM unnest(%(ids)s::bigint[]) WITH ORDINALITY AS listed (id, place)) AS told (id, state)
 WHERE restaurants.schema_id = %(schema_id)s
   AND restaurants.restaurant_id = told.id
   AND restaurants.state <> told.state
