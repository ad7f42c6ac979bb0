#!/bin/bash
# Runs once, when the volume is new: who may connect. Tables and what the two groups may do are the migrations'.
set -eu

for name in owner service load; do
    [ -s "/run/secrets/${name}_password" ] || { echo "error: no secret ${name}_password" >&2; exit 1; }
done

psql -v ON_ERROR_STOP=1 --no-psqlrc --quiet --username postgres --dbname postgres <<'SQL'
\set owner_password `cat /run/secrets/owner_password`
\set service_password `cat /run/secrets/service_password`
\set load_password `cat /run/secrets/load_password`

CREATE ROLE hexbite_reader NOLOGIN;
CREATE ROLE hexbite_loader NOLOGIN;
CREATE ROLE hexbite_teller NOLOGIN;

-- Migrates. The service may connect as the owner and step down, so a migration wants the owner in those groups.
CREATE ROLE hexbite_owner LOGIN PASSWORD :'owner_password' IN ROLE hexbite_reader, hexbite_teller;
-- Reads, takes events, and refreshes what is known of places: each as the one that may do it.
CREATE ROLE hexbite_service LOGIN PASSWORD :'service_password' NOINHERIT
    IN ROLE hexbite_reader, hexbite_teller, hexbite_loader;
CREATE ROLE hexbite_load LOGIN PASSWORD :'load_password' IN ROLE hexbite_loader;

CREATE DATABASE hexbite OWNER hexbite_owner;
REVOKE CONNECT ON DATABASE hexbite FROM PUBLIC;
GRANT CONNECT ON DATABASE hexbite TO hexbite_service, hexbite_load;
SQL
