-- What is remembered of the user, behind the rows of nearby.sql, candidates.sql or candidates_nearby.sql: it is sent as
-- one statement with them, and so reads the same snapshot.
--
-- Parameters: $1 fingerprint of the model's schema, $2 user_id.
-- Columns:    schema_id, NULL; packed; times, whose first byte says what is packed:
--               s  the user's state; behind it the moment of the last refresh, the restaurant that the user was at last,
--                  and when: -infinity for never. This row is always there.
--               p  the states of the restaurants that the user knows.
--               e  an event of the user that no refresh has moved yet: the restaurant, the moment, and the last of the
--                  restaurant's features, NaN where it has no row; behind the mark its kind.
--               a  the states of the restaurants that people went to from the one that the user was at last.
-- Index:      the primary keys of user_states, arrival_states and restaurants, pending_events_by_user. Each is looked
--             into once: to begin and to end a scan takes longer than all that it finds.
SELECT memory.schema_id, memory.packed, memory.times
  FROM (
       WITH schema AS MATERIALIZED (
                SELECT schema_id, remembered_at, counters FROM feature_schemas WHERE fingerprint = $1),
            person AS MATERIALIZED (
                SELECT schema.remembered_at,
                       user_states.state, user_states.places, user_states.previous_id, user_states.previous_ts
                  FROM schema
                  LEFT JOIN user_states ON user_states.schema_id = schema.schema_id
                                       AND user_states.user_id = $2),
            pending AS MATERIALIZED (
                SELECT restaurant_id, event_ts, kind FROM pending_events WHERE user_id = $2)
       SELECT NULL::bigint AS schema_id,
              person.state AS packed,
              '\x73'::bytea || timestamptz_send(coalesce(person.remembered_at, '-infinity'))
              || int8send(coalesce(person.previous_id, 0))
              || timestamptz_send(coalesce(person.previous_ts, '-infinity')) AS times
         FROM person
        UNION ALL
       SELECT NULL, person.places, '\x70'::bytea
         FROM person
        UNION ALL
       SELECT NULL,
              int8send(pending.restaurant_id) || timestamptz_send(pending.event_ts)
              || float4send(coalesce((SELECT restaurants.features[cardinality(restaurants.features)]
                                        FROM restaurants
                                       WHERE restaurants.schema_id = (SELECT schema_id FROM schema)
                                         AND restaurants.restaurant_id = pending.restaurant_id), 'NaN')),
              '\x65'::bytea || convert_to(pending.kind, 'UTF8')
         FROM pending
        UNION ALL
       SELECT NULL, arrival_states.places, '\x61'::bytea
         FROM arrival_states
        WHERE arrival_states.schema_id = (SELECT schema_id FROM schema)
          AND arrival_states.restaurant_id = (
              -- As hexbite.counters.people has it: the latest visit, of several at one moment the one with the greatest
              -- id.
              SELECT visit.restaurant_id
                FROM (SELECT person.previous_id AS restaurant_id, person.previous_ts AS visited_at
                        FROM person
                       UNION ALL
                      SELECT pending.restaurant_id, pending.event_ts
                        FROM pending
                       WHERE jsonb_path_exists(
                                 (SELECT counters FROM schema),
                                 '$.features[*] ? (@.by == "previous restaurant+restaurant").events[*] ? (@ == $kind)',
                                 jsonb_build_object('kind', pending.kind))) AS visit
               WHERE visit.visited_at IS NOT NULL
               ORDER BY visit.visited_at DESC, visit.restaurant_id DESC
               LIMIT 1)) AS memory
