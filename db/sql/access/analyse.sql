-- Fresh statistics of both tables, for who may not ANALYZE them by itself as well as for their owner.
--
-- Parameters: none.
-- Columns:    analyse_features, nothing.
-- Index:      none: it samples.
SELECT analyse_features()
