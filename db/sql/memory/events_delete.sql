-- Events from before a moment, of the month that it lies in: those before went as wholes.
--
-- Parameters: bound.
-- Index:      none: a part of one month.
DELETE FROM events
 WHERE event_ts < %(bound)s
