-- The events of people in a range of ids, but for those that are pending.
--
-- Parameters: low and high, the lowest and highest id; kinds, whose numbers from 0 are told.
-- Columns:    user_id, restaurant_id, event_ts; kind, -1 for another.
-- Index:      events_by_user of every month, and pending_events_by_user.
SELECT user_id,
       restaurant_id,
       event_ts,
       coalesce(array_position(%(kinds)s::text[], kind), 0) - 1 AS kind
  FROM events
 WHERE user_id BETWEEN %(low)s AND %(high)s
   AND event_id NOT IN (SELECT event_id FROM pending_events WHERE user_id BETWEEN %(low)s AND %(high)s)
