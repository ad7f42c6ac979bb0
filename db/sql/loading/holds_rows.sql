-- holds_rows
-- Whether the store holds any row of a schema, of users or of restaurants.
--
-- Parameters: fingerprint.
-- Columns:    holds_rows.
-- Index:      the unique index on fingerprint, then the primary keys, by schema: a row of each.
SELECT EXISTS (SELECT FROM feature_schemas
                WHERE fingerprint = %(fingerprint)s
                  AND (EXISTS (SELECT FROM users WHERE users.schema_id = feature_schemas.schema_id)
                       OR EXISTS (SELECT FROM restaurants WHERE restaurants.schema_id = feature_schemas.schema_id))
              ) AS holds_rows
