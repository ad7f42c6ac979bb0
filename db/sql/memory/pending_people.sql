-- Whose events are pending, and about how many bytes a refresh of each will hold.
--
-- Parameters: none.
-- Columns:    user_id in ascending order; events; bytes, that are remembered of the person in all schemas.
-- Index:      pending_events_by_user, and the primary key of user_states for each schema.
SELECT waiting.user_id,
       waiting.events,
       coalesce((SELECT sum(octet_length(places))
                   FROM user_states
                  WHERE schema_id IN (SELECT schema_id FROM feature_schemas)
                    AND user_states.user_id = waiting.user_id), 0)::bigint AS bytes
  FROM (SELECT user_id, count(*) AS events FROM pending_events GROUP BY user_id) AS waiting
 ORDER BY waiting.user_id
