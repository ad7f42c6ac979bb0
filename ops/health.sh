#!/bin/bash
# The health check of a container that answers HTTP: whether it is ready, and the end of one that stands still.
#
#   health.sh PORT/PATH PORT/PATH   the first is answered by whoever is alive, the second with 200 by who is ready
#
# Docker starts a container again that has ended, and leaves one alone that is unhealthy: who accepts connections and
# answers none of them three times in a row is ended here. Who answers anything is alive, "not ready" too. Who does not
# listen is starting, and is ended only where it has answered before and has not listened for a minute since.
# Nothing but bash: starting Python every few seconds would take more than the answers do.
set -u

ANSWER_S=3
MOST_SILENT=3
MOST_DEAF=20

# The status of an answer; 124 where none comes in time, 1 where nobody listens.
ask() {
    timeout "$ANSWER_S" bash -c '
        exec 3<>"/dev/tcp/127.0.0.1/${1%%/*}" || exit 1
        printf "GET /%s HTTP/1.0\r\nHost: localhost\r\n\r\n" "${1#*/}" >&3
        read -r _ status _ <&3 || exit 124
        echo "$status"' ask "$1" 2>/dev/null
}

# A file of /tmp, which is gone when the container starts anew, counts how often in a row.
once_more() {
    local count=$(($(cat "/tmp/health-$1" 2>/dev/null || echo 0) + 1))
    echo "$count" >"/tmp/health-$1"
    if ((count >= $2)); then
        echo "health check: $3, $count times in a row: ended, to be started again" | tee /proc/1/fd/2
        # All that this user may end but process 1, which ends with its child. Never where that is no container's init.
        [[ $(</proc/1/comm) = @(docker-init|podman-init|tini|catatonit) ]] && kill -KILL -- -1
    fi
    echo "$3"
    exit 1
}

ask "$1" >/dev/null
case $? in
    0) rm -f /tmp/health-silent /tmp/health-deaf && touch /tmp/health-answered ;;
    124) once_more silent "$MOST_SILENT" "no answer within $ANSWER_S s" ;;
    *) [[ -e /tmp/health-answered ]] || { echo "it does not listen yet" && exit 1; }
        once_more deaf "$MOST_DEAF" "it does not listen any more" ;;
esac
status=$(ask "$2")
echo "${status:-no answer}"
[[ $status = 200 ]]
