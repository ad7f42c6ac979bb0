#!/bin/sh
# Rewrites .env: without the lines that an extended pattern names, and with the lines that are given.
#
#   keep.sh PATTERN [LINE...]
set -eu

pattern=$1
shift
umask 077
{
    grep -Ev "$pattern" .env 2>/dev/null || true
    for line; do echo "$line"; done
} >.env.new
mv .env.new .env
