-- How many of the candidates exist at all, wherever they are; asked only where a request wants an explanation.
--
-- Parameters: $1 fingerprint, $2 the candidates' ids, each once.
-- Columns:    known.
-- Index:      the primary key of restaurants.
SELECT count(*) AS known
  FROM restaurants
 WHERE schema_id = (SELECT schema_id FROM feature_schemas WHERE fingerprint = $1)
   AND restaurant_id = ANY ($2::bigint[])
