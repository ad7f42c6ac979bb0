-- Of whom there are events, and how many.
--
-- Parameters: none.
-- Columns:    user_id in ascending order; events; bytes, 0: nothing is remembered yet.
-- Index:      none: it counts every event.
SELECT user_id, count(*) AS events, 0::bigint AS bytes
  FROM events
 GROUP BY user_id
 ORDER BY user_id
