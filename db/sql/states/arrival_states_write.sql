-- Where people went to from some restaurants, written anew; where nothing is left of it, the row goes.
--
-- Parameters: schema_id; ids, of the restaurants come from; places end to end, from which byte (the first is 1) and of which
--             length each.
-- Index:      the primary key of arrival_states.
WITH told AS (
    SELECT id, substring(%(places)b::bytea FROM first::integer FOR length::integer) AS places
      FROM unnest(%(ids)s::bigint[], %(starts)s::bigint[], %(lengths)s::bigint[]) AS listed (id, first, length)
), gone AS (
    DELETE FROM arrival_states
     USING told
     WHERE arrival_states.schema_id = %(schema_id)s
       AND arrival_states.restaurant_id = told.id
       AND told.places = ''
)
INSERT INTO arrival_states (schema_id, restaurant_id, places)
SELECT %(schema_id)s, id, places
  FROM told
 WHERE places <> ''
    ON CONFLICT (schema_id, restaurant_id) DO UPDATE
   SET places = excluded.places
