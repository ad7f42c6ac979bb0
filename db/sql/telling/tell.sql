-- Take events that are told, all or none; an id that is known already counts no second time.
--
-- Parameters: $1 event ids, $2 user ids, $3 restaurant ids, $4 kinds, $5 times, $6 latitudes, $7 longitudes,
--             $8 request ids, $9 positions, $10 values: an array each, an element an event.
-- Columns:    event_id, of those that were new.
-- Index:      the primary key of event_ids, by the owner's function.
SELECT event_id
  FROM tell_events($1::uuid[], $2::bigint[], $3::bigint[], $4::text[], $5::timestamptz[], $6::double precision[],
                   $7::double precision[], $8::text[], $9::integer[], $10::double precision[]) AS told (event_id)
