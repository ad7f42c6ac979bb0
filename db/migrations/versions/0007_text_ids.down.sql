-- What only text ids can mean goes with their rows' schemas: an older version would take the hashes for ids.

-- As it was before: it must not ask for the column.
CREATE OR REPLACE FUNCTION refuse_stale_cell() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    IF current_setting('hexbite.cells_are_computed', true) = 'on' THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'restaurant % would have a stale h3_cell: latitude, longitude and h3_cell change together',
                    OLD.restaurant_id
        USING ERRCODE = 'check_violation',
              TABLE = TG_TABLE_NAME,
              COLUMN = 'h3_cell',
              HINT = format('python -m db move %s %s %s', OLD.restaurant_id, NEW.latitude, NEW.longitude);
END
$$;

ALTER TABLE users DROP COLUMN IF EXISTS user_key;

ALTER TABLE restaurants DROP COLUMN IF EXISTS restaurant_key;
