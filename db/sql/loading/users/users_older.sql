-- How many staged rows tell of an earlier event than the stored ones do, and so will not replace them.
--
-- Parameters: schema_id.
-- Columns:    older.
-- Index:      the primary key of users, or one pass over both tables.
SELECT count(*) AS older
  FROM staged_users AS staged
  JOIN users USING (user_id)
 WHERE users.schema_id = %(schema_id)s
   AND users.event_ts > coalesce(nullif(staged.event_ts, '-infinity'), now())
