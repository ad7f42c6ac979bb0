-- The states of all restaurants of a schema into the rows that requests read, where they are not there yet: after states were
-- made anew, and after rows were added by whoever did not wait for a refresh.
--
-- Parameters: schema_id.
-- Index:      the primary keys of restaurants and restaurant_states, or one pass over both.
UPDATE restaurants
   SET state = told.state
  FROM (SELECT stored.restaurant_id, coalesce(remembered.state, feature_schemas.empty_state)
          FROM restaurants AS stored
          JOIN feature_schemas ON feature_schemas.schema_id = stored.schema_id
          LEFT JOIN restaurant_states AS remembered ON remembered.schema_id = stored.schema_id
                                                   AND remembered.restaurant_id = stored.restaurant_id
         WHERE stored.schema_id = %(schema_id)s) AS told (restaurant_id, state)
 WHERE restaurants.schema_id = %(schema_id)s
   AND restaurants.restaurant_id = told.restaurant_id
   AND restaurants.state <> told.state
