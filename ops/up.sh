#!/bin/sh
# Everything of docker-compose.yml, up and ready; `make up` comes here. The first time it draws the passwords into .env,
# which Git ignores.
set -eu

fail() {
    echo "error: $1" >&2
    exit 1
}

command -v docker >/dev/null || fail "this needs Docker, and docker is not installed"
docker info >/dev/null 2>&1 || fail "this needs a Docker engine that runs, and this user's right to use it"
docker compose version >/dev/null 2>&1 || fail "this needs Docker Compose 2, and docker compose is not installed"

draw() {
    od -An -N24 -tx1 /dev/urandom | tr -d ' \n'
}

if [ ! -e .env ]; then
    # A store made with passwords that nobody knows any more would refuse the new ones.
    docker volume inspect hexbite_store >/dev/null 2>&1 && fail "the volume hexbite_store is there, but .env with its \
passwords is not: bring .env back, or remove the volume and all it holds with: docker volume rm hexbite_store"
    umask 077
    cat >.env.new <<END
# A store keeps the passwords that it was made with: keep this file for as long as the volume.
POSTGRES_PASSWORD=$(draw)
HEXBITE_OWNER_PASSWORD=$(draw)
HEXBITE_SERVICE_PASSWORD=$(draw)
HEXBITE_LOAD_PASSWORD=$(draw)
GRAFANA_PASSWORD=$(draw)
# What the replicas run; make deploy writes it.
HEXBITE_IMAGE=hexbite:latest
END
    mv .env.new .env
    echo "passwords drawn into .env"
fi

# What compose makes of .env and the environment.
configured() {
    docker compose config --format json | "$BIN/python" -c "import json, sys; print($1)"
}
image=$(configured 'json.load(sys.stdin)["services"]["service-a"]["image"]')
if ! docker image inspect "$image" >/dev/null 2>&1; then
    [ "$image" = hexbite:latest ] || fail "there is no image $image: name another in .env, or make deploy MODEL=..."
    echo "building hexbite:latest" >&2
    built=$(sh ops/image.sh)
    docker tag "$built" hexbite:latest
fi
data=$(configured 'json.load(sys.stdin)["services"]["load"]["volumes"][0]["source"]')
[ -e "$data/user_features.parquet" ] || fail "$data is no data folder: name one in .env as HEXBITE_DATA=FOLDER \
(make demo ONCE=1 writes data/demo)"

docker compose up --detach --wait --wait-timeout 300 || fail "not everything came up: make logs"
echo "ready at http://$(docker compose port nginx 8080)"
