-- From when on events are kept from now on.
--
-- Parameters: bound.
-- Index:      none: it is one row.
UPDATE retention
   SET kept_since = %(bound)s
 WHERE kept_since < %(bound)s
