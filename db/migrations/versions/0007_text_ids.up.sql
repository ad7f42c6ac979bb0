-- Where a company's ids are text, a row's integer id is a hash of the text (ADR 13), and the text stands beside it: for
-- answers that name it, for SQL that looks for it, and so that two texts with one hash are noticed. NULL where ids are
-- integers.
--
-- Each paragraph is sent by itself, outside a transaction. Columns and unchecked constraints take a moment. What an
-- attempt leaves that was killed half-way, the next one drops first.

ALTER TABLE users ADD COLUMN IF NOT EXISTS user_key text;

ALTER TABLE restaurants ADD COLUMN IF NOT EXISTS restaurant_key text;

ALTER TABLE users DROP CONSTRAINT IF EXISTS user_key_is_an_id;

ALTER TABLE users ADD CONSTRAINT user_key_is_an_id CHECK (octet_length(user_key) BETWEEN 1 AND 128) NOT VALID;

ALTER TABLE users VALIDATE CONSTRAINT user_key_is_an_id;

ALTER TABLE restaurants DROP CONSTRAINT IF EXISTS restaurant_key_is_an_id;

ALTER TABLE restaurants ADD CONSTRAINT restaurant_key_is_an_id CHECK (octet_length(restaurant_key) BETWEEN 1 AND 128) NOT VALID;

ALTER TABLE restaurants VALIDATE CONSTRAINT restaurant_key_is_an_id;

DROP INDEX CONCURRENTLY IF EXISTS users_by_key;

CREATE UNIQUE INDEX CONCURRENTLY users_by_key ON users (user_key, schema_id) WHERE user_key IS NOT NULL;

DROP INDEX CONCURRENTLY IF EXISTS restaurants_by_key;

CREATE UNIQUE INDEX CONCURRENTLY restaurants_by_key ON restaurants (restaurant_key, schema_id) WHERE restaurant_key IS NOT NULL;

COMMENT ON COLUMN users.user_key IS 'The company''s own id, of which user_id is the hash; NULL where ids are integers.';

COMMENT ON COLUMN restaurants.restaurant_key IS
    'The company''s own id, of which restaurant_id is the hash; NULL where ids are integers.';
