-- What is remembered of some people, written anew.
--
-- Parameters: schema_id; ids, of users; states end to end, of state_bytes each; previous_ids, previous_us (microseconds since
--             1970) and has_previous (1, or 0); places end to end, from which byte (the first is 1) and of which length each.
-- Index:      the primary key of user_states.
INSERT INTO user_states (schema_id, user_id, state, previous_id, previous_ts, places)
SELECT %(schema_id)s,
       told.user_id,
       substring(%(states)b::bytea FROM (told.place::integer - 1) * %(state_bytes)s::integer + 1 FOR %(state_bytes)s::integer),
       CASE told.has_previous WHEN 1 THEN told.previous_id END,
       -- In two parts: as one number of a double they would be rounded.
       CASE told.has_previous WHEN 1 THEN timestamptz 'epoch' + told.previous_us / 1000000 * interval '1 second'
                                        + told.previous_us %% 1000000 * interval '1 microsecond' END,
       substring(%(places)b::bytea FROM told.first::integer FOR told.length::integer)
  FROM unnest(%(ids)s::bigint[], %(previous_ids)s::bigint[], %(previous_us)s::bigint[], %(has_previous)s::bigint[],
              %(starts)s::bigint[], %(lengths)s::bigint[])
       WITH ORDINALITY AS told (user_id, previous_id, previous_us, has_previous, first, length, place)
    ON CONFLICT (schema_id, user_id) DO UPDATE
   SET state = excluded.state,
       previous_id = excluded.previous_id,
       previous_ts = excluded.previous_ts,
       places = excluded.places
