ALTER TABLE users DROP CONSTRAINT IF EXISTS event_ts_is_in_the_calendar;

ALTER TABLE restaurants DROP CONSTRAINT IF EXISTS event_ts_is_in_the_calendar;
