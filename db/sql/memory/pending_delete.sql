-- The pending events of people in a range of ids are in the states.
--
-- Parameters: low and high, the lowest and highest id.
-- Index:      pending_events_by_user.
DELETE FROM pending_events
 WHERE user_id BETWEEN %(low)s AND %(high)s
