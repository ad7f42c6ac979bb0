-- The ids of events that a file tells, to be looked up; gone with the transaction.
CREATE TEMPORARY TABLE staged_ids (
    event_id uuid NOT NULL,
    event_ts timestamptz NOT NULL
) ON COMMIT DROP
