-- About how many bytes are remembered of some people in all schemas.
--
-- Parameters: ids, of users.
-- Columns:    user_id, bytes; no row for a stranger.
-- Index:      the primary key of user_states for each schema; the length of what is stored apart is known without it.
SELECT user_id, sum(octet_length(places))::bigint AS bytes
  FROM user_states
 WHERE schema_id IN (SELECT schema_id FROM feature_schemas)
   AND user_id = ANY (%(ids)s::bigint[])
 GROUP BY user_id
