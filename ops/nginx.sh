#!/bin/sh
# nginx, with what is set in .env: writes the file that ops/nginx.conf includes, and becomes nginx.
#
#   HEXBITE_REQUEST_TIMEOUT_S      the budget of a request, which the service keeps
#   HEXBITE_CLIENT_REQUESTS_PER_S  most requests a second from one address, and as many at once; none for no limit
#   HEXBITE_CLIENT_CONNECTIONS     most requests from one address at the same time; none for no limit
set -eu

fail() {
    echo "error: $1" >&2
    exit 1
}

# A whole number without a unit, as nginx wants it; nothing for none.
limit() {
    case "$2" in
        *[!0-9]*) fail "$1 is no whole number: leave it out for no limit" ;;
    esac
    printf '%s' "$2" | sed 's/^0*//'
}

# nginx takes whole milliseconds. The service answers or refuses within the budget; it may be a little late when its
# cores are taken, and who is later than that hangs. A connection on the same host takes less than a millisecond, and
# the address of a container that is gone answers nothing at all.
times=$(awk -v budget_s="${HEXBITE_REQUEST_TIMEOUT_S:-1}" 'BEGIN {
    if (budget_s !~ /^ *[+]?([0-9]+[.]?[0-9]*|[.][0-9]+)([eE][-+]?[0-9]+)? *$/ || budget_s + 0 <= 0 || budget_s + 0 > 60) exit 1
    budget_ms = budget_s * 1000
    connect_ms = budget_ms / 4 < 250 ? budget_ms / 4 : 250
    printf "proxy_connect_timeout %dms;\n", connect_ms < 1 ? 1 : connect_ms
    printf "proxy_send_timeout %dms;\nproxy_read_timeout %dms;\n", budget_ms * 1.1 + 1, budget_ms * 1.1 + 1
}') || fail "HEXBITE_REQUEST_TIMEOUT_S is no number of seconds, more than 0 and at most 60"
per_s=$(limit HEXBITE_CLIENT_REQUESTS_PER_S "${HEXBITE_CLIENT_REQUESTS_PER_S:-}")
at_once=$(limit HEXBITE_CLIENT_CONNECTIONS "${HEXBITE_CLIENT_CONNECTIONS:-}")

{
    echo "$times"
    if [ -n "$per_s" ]; then
        echo "limit_req_zone \$binary_remote_addr zone=requests:10m rate=${per_s}r/s;"
        echo "limit_req zone=requests burst=$per_s nodelay;"
    fi
    if [ -n "$at_once" ]; then
        echo "limit_conn_zone \$binary_remote_addr zone=connections:10m;"
        echo "limit_conn connections $at_once;"
    fi
} >/tmp/settings.conf

exec nginx -c /etc/nginx/nginx.conf -g "daemon off;" "$@"
