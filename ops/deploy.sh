#!/bin/sh
# Another model, or other code, into the running service: build the image, migrate, replace the replicas one after the
# other. `make deploy` comes here, with what ops/image.sh wants.
set -eu

fail() {
    echo "error: $1" >&2
    exit 1
}

health() {
    docker inspect --format '{{.State.Health.Status}}' "$(docker compose ps --quiet "$1")" 2>/dev/null || echo missing
}

replace() {
    HEXBITE_IMAGE=$2 docker compose up --detach --no-deps --wait --wait-timeout 120 "$1"
}

[ -e .env ] || fail "nothing is up: make up"
for replica in service-a service-b; do
    [ "$(health $replica)" = healthy ] || fail "$replica is $(health $replica): while one is replaced the other answers"
done

# After everything else: the replicas answer on the same cores.
image=$(nice sh ops/image.sh)
before=$(docker inspect --format '{{.Image}}' "$(docker compose ps --quiet service-a)")

# What a migration adds, the code before can live with; what it takes away, it took leave of a release earlier.
HEXBITE_IMAGE=$image docker compose run --rm --no-deps migrate \
    || fail "the migration failed, and no replica was touched"

done_with=""
for replica in service-a service-b; do
    echo "replacing $replica" >&2
    if ! replace $replica "$image"; then
        docker compose logs --tail 5 $replica >&2
        for changed in $replica $done_with; do
            replace "$changed" "$before" || true
        done
        fail "$replica did not become ready with $image (its last lines are above), and is what it was before"
    fi
    done_with=$replica
    # nginx, which left it alone meanwhile, looks again after two seconds (fail_timeout).
    sleep 3
done

# For the next make up.
umask 077
{ grep -v '^HEXBITE_IMAGE=' .env && echo "HEXBITE_IMAGE=$image"; } >.env.new
mv .env.new .env
echo "both replicas answer with $image"
