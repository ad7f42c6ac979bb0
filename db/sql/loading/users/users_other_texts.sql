-- Staged rows whose id is stored for another text: two texts with one hash, which cannot both be kept.
--
-- Parameters: schema_id.
-- Columns:    ours, the staged text; theirs, the stored one.
-- Index:      the primary key of users, or one pass over both tables, as they are large or small.
SELECT staged.user_key AS ours,
       users.user_key AS theirs
  FROM staged_users AS staged
  JOIN users USING (user_id)
 WHERE users.schema_id = %(schema_id)s
   AND users.user_key <> staged.user_key
 ORDER BY staged.user_key
 LIMIT 1000
