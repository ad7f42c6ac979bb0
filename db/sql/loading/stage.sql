-- Staging tables of one load, gone with its session; the keys are NULL where ids are integers. Several statements: they
-- are one step.
CREATE TEMPORARY TABLE staged_users (
    user_id  bigint NOT NULL,
    features real[] NOT NULL,
    event_ts timestamptz NOT NULL,
    user_key text
);
CREATE TEMPORARY TABLE staged_restaurants (
    restaurant_id  bigint NOT NULL,
    latitude       double precision NOT NULL,
    longitude      double precision NOT NULL,
    h3_cell        bigint NOT NULL,
    features       real[] NOT NULL,
    event_ts       timestamptz NOT NULL,
    restaurant_key text
);
ALTER TABLE staged_users ALTER COLUMN features SET STATISTICS 0;
ALTER TABLE staged_restaurants ALTER COLUMN features SET STATISTICS 0
