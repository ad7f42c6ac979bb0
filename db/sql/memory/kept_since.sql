-- From when on events are kept.
--
-- Parameters: none.
-- Columns:    kept_since in microseconds since 1970, NULL where none was ever let go.
-- Index:      none: it is one row.
SELECT CASE WHEN isfinite(kept_since) THEN (extract(epoch FROM kept_since) * 1000000)::bigint END AS kept_us
  FROM retention
