-- How far behind the places of each schema that counts are.
--
-- Parameters: none.
-- Columns:    fingerprint; counters, how many; lag_s that it was loaded with; remembered_at, NULL where its states are not
--             made; ago_s, seconds since then.
-- Index:      none: there are few.
SELECT fingerprint,
       jsonb_array_length(counters -> 'features') AS counters,
       (counters ->> 'lag_s')::double precision AS lag_s,
       remembered_at,
       extract(epoch FROM clock_timestamp() - remembered_at)::double precision AS ago_s
  FROM feature_schemas
 WHERE counters <> '{}'
