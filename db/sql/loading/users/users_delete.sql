-- A full load, first step: rows of the schema that the data folder does not mention any more.
--
-- Parameters: schema_id; rejected, the ids whose row in the folder cannot be stored: their stored one stays.
-- Index:      the primary key of users, by schema.
DELETE FROM users
 WHERE schema_id = %(schema_id)s
   AND NOT EXISTS (SELECT FROM staged_users AS staged WHERE staged.user_id = users.user_id)
   AND user_id NOT IN (SELECT unnest(%(rejected)s::bigint[]))
