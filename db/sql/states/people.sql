-- What is remembered of some people.
--
-- Parameters: schema_id; ids, of users.
-- Columns:    user_id in ascending order, state, previous_id, previous_us (microseconds since 1970), places; no row for a
--             stranger.
-- Index:      the primary key of user_states.
SELECT user_id,
       state,
       previous_id,
       (extract(epoch FROM previous_ts) * 1000000)::bigint AS previous_us,
       places
  FROM user_states
 WHERE schema_id = %(schema_id)s
   AND user_id = ANY (%(ids)s::bigint[])
 ORDER BY user_id
