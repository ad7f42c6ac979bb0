#!/bin/sh
# Another model, or other code, into the running service: build the image where there is none, migrate, replace the
# replicas one after the other. `make deploy` comes here, with what ops/image.sh wants.
#
#   MODEL  tag in the model store, with the code that lies here; hexbite:latest where it is empty
#   IMAGE  an image that is there, in place of a model: the one before, code and all
set -eu

fail() {
    echo "error: $1" >&2
    exit 1
}

health() {
    docker inspect --format '{{.State.Health.Status}}' "$(docker compose ps --quiet "$1" 2>/dev/null)" 2>/dev/null || echo missing
}

replace() {
    HEXBITE_IMAGE=$2 docker compose up --detach --no-deps --wait --wait-timeout 120 "$1"
}

MODEL=${MODEL:-} IMAGE=${IMAGE:-}
[ -z "$MODEL" ] || [ -z "$IMAGE" ] || fail "MODEL= or IMAGE=, not both"
docker info >/dev/null 2>&1 || fail "this needs a Docker engine that runs, and this user's right to use it"
for replica in service-a service-b; do
    case $(health $replica) in
        healthy) ;;
        missing) fail "$replica does not run: make up" ;;
        *) fail "$replica is $(health $replica): while one is replaced the other answers" ;;
    esac
done
[ -s secrets/service_password ] || fail "what runs is of an earlier version, or secrets/ is gone: make up says more"
before=$(sh ops/running.sh | tail -n 1)
before_of() {
    docker inspect --format '{{.Config.Image}}' "$(docker compose ps --quiet "$1")"
}
before_a=$(before_of service-a) before_b=$(before_of service-b)

if [ -n "$IMAGE" ]; then
    docker image inspect "$IMAGE" >/dev/null 2>&1 \
        || fail "there is no image $IMAGE: docker image ls hexbite shows what there is"
    image=$IMAGE
else
    # After everything else: the replicas answer on the same cores.
    image=$(nice sh ops/image.sh)
fi

# What a migration adds, the code before can live with; what it takes away, it took leave of a release earlier.
HEXBITE_IMAGE=$image docker compose run --rm --no-deps migrate \
    || fail "the migration failed, and no replica was touched"

done_with=""
for replica in service-a service-b; do
    echo "replacing $replica" >&2
    if ! replace $replica "$image"; then
        docker compose logs --tail 5 $replica >&2
        for changed in $replica $done_with; do
            # Whatever becomes of one, the other is put back too.
            case $changed in
                service-a) replace service-a "$before_a" || true ;;
                *) replace service-b "$before_b" || true ;;
            esac
        done
        fail "$replica did not become ready with $image (its last lines are above), and is what it was before"
    fi
    done_with=$replica
    # nginx, which left it alone meanwhile, looks again after two seconds (fail_timeout).
    sleep 3
done

# For the next make up.
sh ops/keep.sh '^HEXBITE_IMAGE=' "HEXBITE_IMAGE=$image"
echo "both replicas answer with $image in place of $before; back: make deploy IMAGE=$before"
