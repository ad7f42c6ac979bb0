-- What only text ids can mean goes with their rows' schemas: an older version would take the hashes for ids.

ALTER TABLE users DROP COLUMN IF EXISTS user_key;

ALTER TABLE restaurants DROP COLUMN IF EXISTS restaurant_key;
