-- A load, second step: stored rows that the staged ones differ from. Unchanged rows stay.
--
-- Parameters: schema_id; keep_newer, whether a stored row with a later event wins. A staged event time of -infinity is
--             one that the data does not tell: the load's time, and no difference by itself.
-- Index:      the primary key of users, or one pass over both tables, as they are large or small.
UPDATE users
   SET features = staged.features,
       event_ts = coalesce(nullif(staged.event_ts, '-infinity'), now()),
       user_key = staged.user_key
  FROM staged_users AS staged
 WHERE users.schema_id = %(schema_id)s
   AND users.user_id = staged.user_id
   AND (users.features IS DISTINCT FROM staged.features
        OR users.user_key IS DISTINCT FROM staged.user_key
        OR users.event_ts <> nullif(staged.event_ts, '-infinity'))
   AND (NOT %(keep_newer)s OR users.event_ts <= coalesce(nullif(staged.event_ts, '-infinity'), now()))
