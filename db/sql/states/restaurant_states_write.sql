-- What is remembered of some restaurants, written anew.
--
-- Parameters: schema_id; ids; states end to end, of state_bytes each.
-- Index:      the primary key of restaurant_states.
INSERT INTO restaurant_states (schema_id, restaurant_id, state)
SELECT %(schema_id)s,
       told.id,
       substring(%(states)b::bytea FROM (told.place::integer - 1) * %(state_bytes)s::integer + 1 FOR %(state_bytes)s::integer)
  FROM unnest(%(ids)s::bigint[]) WITH ORDINALITY AS told (id, place)
    ON CONFLICT (schema_id, restaurant_id) DO UPDATE
   SET state = excluded.state
