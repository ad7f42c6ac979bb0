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

-- The hint names a restaurant as the company does, in words of a shell.
CREATE OR REPLACE FUNCTION refuse_stale_cell() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    id text := coalesce(OLD.restaurant_key, OLD.restaurant_id::text);
BEGIN
    IF current_setting('hexbite.cells_are_computed', true) = 'on' THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'restaurant % would have a stale h3_cell: latitude, longitude and h3_cell change together', id
        USING ERRCODE = 'check_violation',
              TABLE = TG_TABLE_NAME,
              COLUMN = 'h3_cell',
              HINT = format('python -m db move %s%s %s %s',
                            CASE WHEN id ~ '^-[^0-9]' THEN '-- ' END,
                            CASE WHEN id ~ '^[A-Za-z0-9_.:/-]+$' THEN id
                                 ELSE $q$'$q$ || replace(id, $q$'$q$, $q$'"'"'$q$) || $q$'$q$ END,
                            NEW.latitude, NEW.longitude);
END
$$;

COMMENT ON COLUMN users.user_key IS 'The company''s own id, of which user_id is the hash; NULL where ids are integers.';

COMMENT ON COLUMN restaurants.restaurant_key IS
    'The company''s own id, of which restaurant_id is the hash; NULL where ids are integers.';
