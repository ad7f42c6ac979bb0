-- An event time is one that Python's datetime can hold: an answer that explains itself has to tell it.
--
-- Each paragraph is sent by itself, outside a transaction. The constraints are added unchecked, which takes a moment, and
-- checked while others read and write. What an attempt leaves that was killed half-way, the next one drops first.

ALTER TABLE users DROP CONSTRAINT IF EXISTS event_ts_is_in_the_calendar;

ALTER TABLE restaurants DROP CONSTRAINT IF EXISTS event_ts_is_in_the_calendar;

-- Read once, here, and with their zone: whatever a session's settings, these stay two moments.
ALTER TABLE users ADD CONSTRAINT event_ts_is_in_the_calendar
    CHECK (event_ts >= '0001-01-01 00:00:00+00' AND event_ts < '10000-01-01 00:00:00+00') NOT VALID;

ALTER TABLE restaurants ADD CONSTRAINT event_ts_is_in_the_calendar
    CHECK (event_ts >= '0001-01-01 00:00:00+00' AND event_ts < '10000-01-01 00:00:00+00') NOT VALID;

-- Where rows break them, both go: left unchecked, they would refuse every other change of those rows too.
DO $$
BEGIN
    ALTER TABLE users VALIDATE CONSTRAINT event_ts_is_in_the_calendar;
    ALTER TABLE restaurants VALIDATE CONSTRAINT event_ts_is_in_the_calendar;
EXCEPTION WHEN check_violation THEN
    ALTER TABLE users DROP CONSTRAINT event_ts_is_in_the_calendar;
    ALTER TABLE restaurants DROP CONSTRAINT event_ts_is_in_the_calendar;
END
$$;

-- By itself, because an error takes back what was done beside it.
DO $$
DECLARE
    wrong text;
    mend text;
BEGIN
    IF EXISTS (SELECT FROM pg_constraint
                WHERE conrelid = 'users'::regclass AND conname = 'event_ts_is_in_the_calendar') THEN
        RETURN;
    END IF;
    WITH refused (name, id) AS (
        SELECT 'users', user_id FROM users WHERE NOT (event_ts >= '0001-01-01 00:00:00+00' AND event_ts < '10000-01-01 00:00:00+00')
         UNION ALL
        SELECT 'restaurants', restaurant_id FROM restaurants WHERE NOT (event_ts >= '0001-01-01 00:00:00+00' AND event_ts < '10000-01-01 00:00:00+00')
    ), counted AS (
        SELECT name, count(*) AS rows, array_to_string((array_agg(id ORDER BY id))[1:5], ', ') AS first
          FROM refused GROUP BY name
    )
    SELECT string_agg(format('%s (%s rows, ids %s%s)', name, rows, first, CASE WHEN rows > 5 THEN ', ...' END), ' and '),
           string_agg(format('UPDATE %I.%s SET event_ts = now() WHERE NOT (event_ts >= ''0001-01-01 00:00:00+00'' AND event_ts < ''10000-01-01 00:00:00+00'');', current_schema(), name), ' ')
      INTO wrong, mend FROM counted;
    RAISE EXCEPTION 'event_ts lies before year 1 or after year 9999 in %; nothing was changed',
                    coalesce(wrong, 'rows that are gone by now')
        USING ERRCODE = 'check_violation',
              HINT = concat_ws(' ', mend, 'Then run this again.');
END
$$;
