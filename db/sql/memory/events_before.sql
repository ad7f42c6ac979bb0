-- How many events happened before a moment.
--
-- Parameters: bound.
-- Columns:    events.
-- Index:      none: it counts the months before.
SELECT count(*) AS events
  FROM events
 WHERE event_ts < %(bound)s
