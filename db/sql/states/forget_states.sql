-- All states of a schema gone, before they are made anew.
--
-- Parameters: schema_id.
-- Index:      the primary keys of the three tables, by schema.
WITH people AS (
    DELETE FROM user_states WHERE schema_id = %(schema_id)s
), places AS (
    DELETE FROM restaurant_states WHERE schema_id = %(schema_id)s
)
DELETE FROM arrival_states WHERE schema_id = %(schema_id)s
