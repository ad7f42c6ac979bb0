-- What is remembered of some people, written anew.
--
-- Parameters: schema_id; ids, of users; states end to end, of state_bytes each; previous_ids, previous_us (microseconds since
--             1970) and has_previous; places end to end, from which byte (the first is 1) and of which length each.
-- Index:      the primary key of user_states.
INSERT INTO user_states (schema_id, user_id, state, previous_id, previous_ts, places)
SELECT %(schema_id)s,
       told.user_id,
       substring(%(states)b::bytea FROM (told.place::integer - 1) * %(state_bytes)s::integer + 1 FOR %(state_bytes)s::integer),
       CASE WHEN told.has_previous THEN told.previous_id END,
       -- In two parts: as one number of a double they would be rounded.
       CASE WHEN told.has_previous THEN timestamptz 'epoch' + told.previous_us / 1000000 * interval '1 second'
                                        + told.previous_us %% 1000000 * interval '1 microsecond' END,
       substring(%(places)b::bytea FROM told.first FOR told.length)
  FROM unnest(%(ids)s::bigint[], %(previous_ids)s::bigint[], %(previous_us)s::bigint[], %(has_previous)s::boolean[],
              %(starts)s::integer[], %(lengths)s::integer[])
       WITH ORDINALITY AS told (user_id, previous_id, previous_us, has_previous, first, length, place)
    ON CONFLICT (schema_id, user_id) DO UPDATE
   SET state = excluded.state,
       previous_id = excluded.previous_id,
       previous_ts = excluded.previous_ts,
       places = excluded.places
