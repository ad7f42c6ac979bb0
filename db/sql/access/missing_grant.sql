-- The first right that a session lacks for loading, as the statement that gives it.
--
-- Parameters: none.
-- Columns:    statement.
-- Index:      the catalogue's own.
SELECT CASE
           WHEN pg_has_role(to_regrole('hexbite_loader')::oid, 'USAGE') IS NOT TRUE
               THEN format('GRANT hexbite_loader TO %I', current_user)
           WHEN NOT has_database_privilege(current_database(), 'TEMPORARY')
               THEN format('GRANT TEMPORARY ON DATABASE %I TO hexbite_loader', current_database())
           WHEN NOT has_function_privilege('analyse_features()', 'EXECUTE')
               THEN format('GRANT EXECUTE ON FUNCTION %I.analyse_features() TO hexbite_loader', current_schema())
           WHEN has_function_privilege(to_regprocedure('make_month(timestamptz)')::oid, 'EXECUTE') IS FALSE
               THEN format('GRANT EXECUTE ON FUNCTION %I.make_month(timestamptz) TO hexbite_loader', current_schema())
           WHEN has_function_privilege(to_regprocedure('drop_months(timestamptz)')::oid, 'EXECUTE') IS FALSE
               THEN format('GRANT EXECUTE ON FUNCTION %I.drop_months(timestamptz) TO hexbite_loader', current_schema())
           -- As revisions 0003 and 0008 grant them.
           ELSE format('GRANT SELECT ON %1$I.alembic_version TO hexbite_loader;'
                       ' GRANT SELECT, INSERT, UPDATE, DELETE ON %1$I.users, %1$I.restaurants, %1$I.restaurant_states,'
                       ' %1$I.arrival_states, %1$I.user_states, %1$I.events, %1$I.event_ids, %1$I.pending_events'
                       ' TO hexbite_loader; GRANT SELECT, UPDATE ON %1$I.retention TO hexbite_loader;'
                       ' GRANT SELECT, INSERT (fingerprint, user_features, restaurant_features, context_features,'
                       ' user_fills, restaurant_fills, counters, empty_state),'
                       ' UPDATE (user_fills, restaurant_fills, counters, remembered_at)'
                       ' ON %1$I.feature_schemas TO hexbite_loader', current_schema())
       END AS statement
