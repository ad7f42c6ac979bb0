-- How restaurants are spread over cells, as the planner knows it since the last ANALYZE.
--
-- Parameters: none.
-- Columns:    rows, of all schemas together; bounds, cells in ascending order with equally many rows between any two
--             that are neighbours, NULL where the table was never analysed.
-- Index:      the catalogue's own.
SELECT greatest(pg_class.reltuples, 0) AS rows, pg_stats.histogram_bounds::text::bigint[] AS bounds
  FROM pg_class
  JOIN pg_namespace ON pg_namespace.oid = pg_class.relnamespace
  LEFT JOIN pg_stats ON pg_stats.schemaname = pg_namespace.nspname
                    AND pg_stats.tablename = pg_class.relname
                    AND pg_stats.attname = 'h3_cell'
 WHERE pg_class.oid = 'restaurants'::regclass
