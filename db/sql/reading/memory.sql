-- What is remembered of the user, behind the rows of nearby.sql, candidates.sql or candidates_nearby.sql: it is sent as
-- one statement with them, and so reads the same snapshot.
--
-- Parameters: $1 fingerprint of the model's schema, $2 user_id.
-- Columns:    schema_id, NULL; packed; times, whose first byte says what is packed:
--               s  the user's state; behind it the moment of the last refresh, the restaurant that the user was at last,
--                  and when: -infinity for never. This row is always there.
--               p  the states of the restaurants that the user knows.
--               e  events of the user that no refresh has moved yet, of the kind that stands behind it: of each the
--                  restaurant, the moment, and the last of the restaurant's features, NaN where it has no row.
--               a  the states of the restaurants that people went to from the one that the user was at last.
-- Index:      the primary keys of user_states, arrival_states and restaurants, pending_by_user.
SELECT NULL::bigint AS schema_id, told.packed, told.times
  FROM feature_schemas
  LEFT JOIN user_states ON user_states.schema_id = feature_schemas.schema_id
                       AND user_states.user_id = $2
 CROSS JOIN LATERAL (
       VALUES (user_states.state,
               '\x73'::bytea || timestamptz_send(coalesce(feature_schemas.remembered_at, '-infinity'))
               || int8send(coalesce(user_states.previous_id, 0))
               || timestamptz_send(coalesce(user_states.previous_ts, '-infinity'))),
              (user_states.places, '\x70'::bytea)) AS told (packed, times)
 WHERE feature_schemas.fingerprint = $1
 UNION ALL
SELECT NULL,
       string_agg(int8send(pending_events.restaurant_id) || timestamptz_send(pending_events.event_ts)
                  || float4send(coalesce(restaurants.features[cardinality(restaurants.features)], 'NaN')),
                  NULL),
       '\x65'::bytea || convert_to(pending_events.kind, 'UTF8')
  FROM pending_events
  LEFT JOIN restaurants ON restaurants.schema_id = (SELECT schema_id FROM feature_schemas WHERE fingerprint = $1)
                       AND restaurants.restaurant_id = pending_events.restaurant_id
 WHERE pending_events.user_id = $2
 GROUP BY pending_events.kind
 UNION ALL
SELECT NULL, arrival_states.places, '\x61'::bytea
  FROM arrival_states
 WHERE arrival_states.schema_id = (SELECT schema_id FROM feature_schemas WHERE fingerprint = $1)
   AND arrival_states.restaurant_id = (
       -- As hexbite.counters.people has it: the latest visit, of several at one moment the one with the greatest id.
       SELECT visit.restaurant_id
         FROM (SELECT user_states.previous_id AS restaurant_id, user_states.previous_ts AS visited_at
                 FROM user_states
                WHERE user_states.schema_id = (SELECT schema_id FROM feature_schemas WHERE fingerprint = $1)
                  AND user_states.user_id = $2
                UNION ALL
               SELECT pending_events.restaurant_id, pending_events.event_ts
                 FROM pending_events
                WHERE pending_events.user_id = $2
                  AND jsonb_path_exists(
                          (SELECT counters FROM feature_schemas WHERE fingerprint = $1),
                          '$.features[*] ? (@.by == "previous restaurant+restaurant").events[*] ? (@ == $kind)',
                          jsonb_build_object('kind', pending_events.kind))) AS visit
        WHERE visit.visited_at IS NOT NULL
        ORDER BY visit.visited_at DESC, visit.restaurant_id DESC
        LIMIT 1)
