-- What is known of events.
--
-- Parameters: none.
-- Columns:    events, oldest and newest of them; pending, oldest_pending of those that are not in the states; kept_since,
--             NULL where none was let go.
-- Index:      none: it counts every event.
SELECT events.events, events.oldest, events.newest, pending.pending, pending.oldest_pending,
       nullif(retention.kept_since, '-infinity') AS kept_since
  FROM retention
 CROSS JOIN (SELECT count(*) AS events, min(event_ts) AS oldest, max(event_ts) AS newest FROM events) AS events
 CROSS JOIN (SELECT count(*) AS pending, min(event_ts) AS oldest_pending FROM pending_events) AS pending
