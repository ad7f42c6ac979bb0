-- The ids of events from before a moment: nobody can tell them any more.
--
-- Parameters: bound.
-- Index:      none: it reads every id.
DELETE FROM event_ids
 WHERE event_ts < %(bound)s
