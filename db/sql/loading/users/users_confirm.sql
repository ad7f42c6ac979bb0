-- A load, third step: unchanged rows of which the data tells no event time get the load's, since it found them so. Rows
-- that users_update.sql changed have it by now.
--
-- Parameters: schema_id; keep_newer, whether a stored row with a later event wins.
-- Index:      the primary key of users, or one pass over both tables, as they are large or small.
UPDATE users
   SET event_ts = now()
  FROM staged_users AS staged
 WHERE users.schema_id = %(schema_id)s
   AND users.user_id = staged.user_id
   AND staged.event_ts = '-infinity'
   AND users.event_ts <> now()
   AND (NOT %(keep_newer)s OR users.event_ts < now())
