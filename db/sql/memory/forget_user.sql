-- A person gone: rows, events, their ids, what is pending and what is remembered, in every schema.
--
-- Parameters: user_id, what an integer id reads as, NULL for none; hash and user_key, what a text id stands for and the text.
-- Columns:    rows, events, event_ids, pending, states: how many of each were removed.
-- Index:      the primary keys of users and user_states for each schema, events_by_user of every month,
--             pending_events_by_user, the primary key of event_ids.
WITH gone_rows AS (
    DELETE FROM users
     WHERE schema_id IN (SELECT schema_id FROM feature_schemas)
       AND user_id = ANY (ARRAY[%(user_id)s::bigint, %(hash)s::bigint])
       AND (user_id = %(user_id)s::bigint OR user_key = %(user_key)s::text)
    RETURNING user_id
), gone_events AS (
    DELETE FROM events
     WHERE user_id = ANY (ARRAY[%(user_id)s::bigint, %(hash)s::bigint])
    RETURNING event_id
), gone_ids AS (
    DELETE FROM event_ids
     USING gone_events
     WHERE event_ids.event_id = gone_events.event_id
    RETURNING event_ids.event_id
), gone_pending AS (
    DELETE FROM pending_events
     WHERE user_id = ANY (ARRAY[%(user_id)s::bigint, %(hash)s::bigint])
    RETURNING user_id
), gone_states AS (
    DELETE FROM user_states
     WHERE schema_id IN (SELECT schema_id FROM feature_schemas)
       AND user_id = ANY (ARRAY[%(user_id)s::bigint, %(hash)s::bigint])
    RETURNING user_id
)
SELECT (SELECT count(*) FROM gone_rows) AS rows,
       (SELECT count(*) FROM gone_events) AS events,
       (SELECT count(*) FROM gone_ids) AS event_ids,
       (SELECT count(*) FROM gone_pending) AS pending,
       (SELECT count(*) FROM gone_states) AS states
