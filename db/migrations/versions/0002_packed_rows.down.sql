ALTER TABLE restaurants ALTER COLUMN h3_cell SET STATISTICS -1;
DROP INDEX restaurants_by_cell;
ALTER TABLE restaurants DROP COLUMN packed;
DROP FUNCTION pack_restaurant(bigint, double precision, double precision, real[]);
CREATE INDEX restaurants_by_cell ON restaurants (schema_id, h3_cell) INCLUDE (restaurant_id);
