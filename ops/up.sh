#!/bin/sh
# Everything of docker-compose.yml, up and ready; `make up` comes here, with what ops/image.sh wants. The first time it
# draws the passwords into secrets/, which Git ignores, and fills the store.
#
#   MODEL  tag in the model store; where it is empty, what .env names goes on, and the first time it is hexbite:latest
#   IMAGE  an image that is there, in place of a model
set -eu

fail() {
    echo "error: $1" >&2
    exit 1
}

command -v docker >/dev/null || fail "this needs Docker, and docker is not installed"
docker info >/dev/null 2>&1 || fail "this needs a Docker engine that runs, and this user's right to use it"
docker compose version >/dev/null 2>&1 || fail "this needs Docker Compose 2, and docker compose is not installed"
MODEL=${MODEL:-} IMAGE=${IMAGE:-}
[ -z "$MODEL" ] || [ -z "$IMAGE" ] || fail "MODEL= or IMAGE=, not both"

# What compose makes of .env and the environment.
configured() {
    docker compose --profile load config --format json | "$BIN/python" -c "import json, sys; print($1)"
}
there() {
    docker image inspect "$1" >/dev/null 2>&1
}
image=$(configured 'json.load(sys.stdin)["services"]["service-a"]["image"]')
data=$(configured 'json.load(sys.stdin)["services"]["load"]["volumes"][0]["source"]')
store=$(configured 'json.load(sys.stdin)["volumes"]["store"]["name"]')
running=$(sh ops/running.sh)

# An earlier version kept passwords in .env, and its images know of nowhere else: their model goes on with today's code.
old='^(POSTGRES|HEXBITE_OWNER|HEXBITE_SERVICE|HEXBITE_LOAD|GRAFANA)_PASSWORD='
was_old=""
if grep -Eq "$old" .env 2>/dev/null; then
    was_old=yes running=""
    # Its images are named by their model; the newest has a second name.
    [ -n "$MODEL$IMAGE" ] || [ "$image" = hexbite:latest ] || MODEL=$image
    [ -n "$MODEL$IMAGE" ] || MODEL=$(docker image inspect --format '{{join .RepoTags "\n"}}' "$image" 2>/dev/null \
        | grep '^hexbite:' | grep -v ':latest$' | head -n 1)
    image=hexbite:latest
fi

# --- the image ---

if [ -n "$IMAGE" ]; then
    there "$IMAGE" || fail "there is no image $IMAGE: docker image ls hexbite shows what there is"
    wanted=$IMAGE
elif [ -n "$MODEL" ]; then
    wanted=$(MODEL=$MODEL sh ops/image.sh name)
elif [ "$image" != hexbite:latest ]; then
    there "$image" || fail "there is no image $image, which .env names: make up MODEL=hexbite:VERSION builds one"
    wanted=$image
else
    wanted=${running:-$(sh ops/image.sh name)}
fi
case $running in
    *"
"*) [ -n "$MODEL$IMAGE" ] || [ "$image" != hexbite:latest ] || fail "the replicas run different images, $(echo $running): \
make deploy IMAGE=... makes them one" ;;
esac
by="IMAGE=$wanted"
[ -z "$MODEL" ] || by="MODEL=$MODEL"
[ -z "$running" ] || [ "$running" = "$wanted" ] || fail "the replicas run $(echo $running), and make up would replace both at \
once: make deploy $by replaces them one after the other; or make down first"

if [ ! -e "$data/user_features.parquet" ]; then
    docker volume inspect "$store" >/dev/null 2>&1 || fail "$data is no data folder: name one in .env as \
HEXBITE_DATA=FOLDER (make demo ONCE=1 writes data/demo)"
    echo "$data is no data folder: the store stays as it is" >&2
    data=""
fi
there "$wanted" || wanted=$(MODEL=$MODEL sh ops/image.sh)

# --- the passwords ---

mkdir -p secrets
chmod 700 secrets
for name in postgres owner service load grafana; do
    file=secrets/${name}_password
    [ ! -s "$file" ] || continue
    case $name in
        postgres | grafana) variable=$(echo $name | tr a-z A-Z)_PASSWORD ;;
        *) variable=HEXBITE_$(echo $name | tr a-z A-Z)_PASSWORD ;;
    esac
    password=$("$BIN/python" -c 'import dotenv, sys; print(dotenv.dotenv_values(".env").get(sys.argv[1]) or "")' $variable)
    if [ -z "$password" ]; then
        # A store made with passwords that nobody knows any more would refuse the new ones.
        [ $name = grafana ] || ! docker volume inspect "$store" >/dev/null 2>&1 || fail "the volume $store is there, but \
its password in $file is not: bring it back, or remove the volume and all it holds with: docker volume rm $store"
        password=$(od -An -N24 -tx1 /dev/urandom | tr -d ' \n')
    fi
    printf '%s\n' "$password" >"$file.new"
    # Compose mounts it as it is, for the users of the containers; nobody else of this machine comes into the folder.
    chmod 444 "$file.new"
    mv "$file.new" "$file"
    echo "$file: the password is kept there" >&2
done

if [ -n "$was_old" ]; then
    sh ops/keep.sh "$old|^# A store keeps the passwords|^HEXBITE_(IMAGE|LOAD_MODE)="
    # Its networks have other addresses, and its load, started, would write over what has changed since.
    docker compose --profile observe --profile load down
fi
[ "$wanted" = "$image" ] || sh ops/keep.sh '^HEXBITE_IMAGE=' "HEXBITE_IMAGE=$wanted"
export HEXBITE_IMAGE="$wanted"

# --- the containers ---

# Migrates first, and loads nothing into a store that has rows.
[ -z "$data" ] || docker compose run --rm load || fail "the store was not filled from $data; what it said is above"
docker compose up --detach --wait --wait-timeout 300 || fail "not everything came up: make logs"
echo "ready at http://$(docker compose port nginx 8080), $wanted"
