-- How old the rows of an answer are is read from the index that they are read by: event_ts is included. The new index
-- is built beside the old one, and nobody waits for it; the names are swapped when it is whole.
--
-- Each paragraph is sent by itself, outside a transaction. Whatever an attempt leaves that was killed half-way (an
-- invalid index, two whole ones), the next one drops first and begins anew.

DROP INDEX CONCURRENTLY IF EXISTS restaurants_by_cell_new;

DROP INDEX CONCURRENTLY IF EXISTS restaurants_by_cell_old;

CREATE INDEX CONCURRENTLY restaurants_by_cell_new
    ON restaurants (schema_id, h3_cell) INCLUDE (restaurant_id, packed, event_ts);

-- To rename an index blocks no reader and no writer.
ALTER INDEX restaurants_by_cell RENAME TO restaurants_by_cell_old;
ALTER INDEX restaurants_by_cell_new RENAME TO restaurants_by_cell;

DROP INDEX CONCURRENTLY restaurants_by_cell_old;
