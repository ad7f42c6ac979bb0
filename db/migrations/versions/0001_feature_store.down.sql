-- Drops every row with its table: the way back is to load the data folder again.

DROP TABLE restaurants;
DROP TABLE users;
DROP TABLE feature_schemas;
DROP FUNCTION refuse_stale_cell();
DROP FUNCTION refuse_restaurant_width();
DROP FUNCTION refuse_user_width();
DROP FUNCTION refuse_schema_change();
