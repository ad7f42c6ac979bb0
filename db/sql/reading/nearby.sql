-- The user's features and every restaurant in a cover, in one statement and so in one snapshot.
--
-- Parameters: $1 fingerprint of the model's schema, $2 user_id, $3 and $4 the cover's lowest and highest cells.
-- Columns:    schema_id, packed, times. The one row with a schema_id is the user: its features in the wire form of
--             real[], NULL for an unknown user; the store's clock and, of a known user, the event time, both in the wire
--             form of timestamptz. Without that row there is no such schema in this store. Every other row holds the
--             packed rows of some restaurants end to end, each with its event time behind it, or NULL.
-- Index:      restaurants_by_cell, index-only, one range scan an interval. (Rows too wide for it are fetched by the
--             primary key and packed here.)
SELECT feature_schemas.schema_id,
       array_send(users.features) AS packed,
       timestamptz_send(now()) || coalesce(timestamptz_send(users.event_ts), '') AS times
  FROM feature_schemas
  LEFT JOIN users ON users.schema_id = feature_schemas.schema_id
                 AND users.user_id = $2
 WHERE feature_schemas.fingerprint = $1
 UNION ALL
SELECT NULL,
       (SELECT string_agg(
                   coalesce(
                       near.packed,
                       (SELECT pack_restaurant(wide.restaurant_id, wide.latitude, wide.longitude, wide.features, wide.state)
                          FROM restaurants AS wide
                         WHERE wide.schema_id = near.schema_id
                           AND wide.restaurant_id = near.restaurant_id))
                   || timestamptz_send(near.event_ts),
                   NULL)
          FROM restaurants AS near
         WHERE near.schema_id = (SELECT schema_id FROM feature_schemas WHERE fingerprint = $1)
           AND near.h3_cell BETWEEN cover.low AND cover.high),
       NULL
  FROM unnest($3::bigint[], $4::bigint[]) AS cover (low, high)
