-- Those of the staged ids that are known already, whatever time they were told of.
--
-- Parameters: none.
-- Columns:    event_id.
-- Index:      the primary key of event_ids, or one pass over both tables.
SELECT event_id
  FROM staged_ids
 WHERE EXISTS (SELECT FROM event_ids WHERE event_ids.event_id = staged_ids.event_id)
