-- The states of schemas are of now.
--
-- Parameters: ids, of schemas.
-- Index:      the primary key of feature_schemas.
UPDATE feature_schemas
   SET remembered_at = clock_timestamp()
 WHERE schema_id = ANY (%(ids)s::integer[])
