#!/bin/sh
# The images that the replicas run, a line each; nothing where none runs.
set -eu

for replica in service-a service-b; do
    for container in $(docker compose ps --quiet $replica 2>/dev/null); do
        docker inspect --format '{{.Config.Image}}' "$container"
    done
done | sort -u
