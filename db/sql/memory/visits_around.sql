-- The visits of some people around those that are told late; those that are pending are not in the states, and left out.
--
-- Parameters: ids, of users; for each first_us and last_us (microseconds since 1970); visits, kinds of events; kinds, whose
--             numbers from 0 are told.
-- Columns:    user_id, restaurant_id, event_ts, kind.
-- Index:      events_by_user of the months around, and pending_events_by_user.
SELECT events.user_id,
       events.restaurant_id,
       events.event_ts,
       array_position(%(kinds)s::text[], events.kind) - 1 AS kind
  FROM unnest(%(ids)s::bigint[], %(first_us)s::bigint[], %(last_us)s::bigint[]) AS asked (user_id, first_us, last_us)
 CROSS JOIN LATERAL (
       SELECT timestamptz 'epoch' + asked.first_us / 1000000 * interval '1 second' AS first,
              timestamptz 'epoch' + (asked.last_us / 1000000 + 1) * interval '1 second' AS last) AS bound
 CROSS JOIN LATERAL (
       SELECT * FROM events
        WHERE events.user_id = asked.user_id
          AND events.event_ts BETWEEN bound.first AND bound.last
       OFFSET 0) AS events
 WHERE events.kind = ANY (%(visits)s::text[])
   AND NOT EXISTS (SELECT FROM pending_events
                    WHERE pending_events.user_id = events.user_id
                      AND pending_events.event_id = events.event_id)
