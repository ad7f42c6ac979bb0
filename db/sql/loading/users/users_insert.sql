-- A load, fourth step: staged rows that are not stored yet.
--
-- Parameters: schema_id.
-- Index:      the primary key of users, by schema.
INSERT INTO users (schema_id, user_id, features, event_ts, user_key)
SELECT %(schema_id)s, staged.user_id, staged.features,
       coalesce(nullif(staged.event_ts, '-infinity'), now()), staged.user_key
  FROM staged_users AS staged
 WHERE NOT EXISTS (SELECT FROM users WHERE users.schema_id = %(schema_id)s AND users.user_id = staged.user_id)
 ORDER BY staged.user_id
