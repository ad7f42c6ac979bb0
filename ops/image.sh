#!/bin/sh
# The image of one model with the code that lies here, hexbite:VERSION-CODE: VERSION is the model's, CODE is made of the
# files that go in (ops/code.py). One that is there already is taken as it is. `make image`, `make up` and `make deploy`
# come here; prints the image's name.
#
#   image.sh [name]   name: its name alone, and nothing is built
#
#   BIN          folder of the programs of the environment
#   MODEL        tag in the model store; hexbite:latest where it is empty
#   TORCH        cpu or cuda
#   TORCH_INDEX  for cpu: address of the index that has torch's CPU builds, or a folder of wheels. Where it is empty, a
#                folder of wheels that pip is told of (PIP_FIND_LINKS, find-links of its configuration)
set -eu

fail() {
    echo "error: $1" >&2
    exit 1
}

docker info >/dev/null 2>&1 || fail "an image needs a Docker engine that runs, and this user's right to use it"
bin=$(cd "$BIN" && pwd)
MODEL=${MODEL:-hexbite:latest}
case "$TORCH" in
    cpu | cuda) ;;
    *) fail "TORCH is cpu or cuda" ;;
esac

export BENTOML_DO_NOT_TRACK=True
# Its output is broken where a terminal would end.
path=$(COLUMNS=4096 "$bin/bentoml" models get "$MODEL" --output path 2>/dev/null) || fail "no model $MODEL in the model store: \
bentoml models list shows what there is; make demo ONCE=1 or python -m training train makes one"
version=$(basename "$path")
image=hexbite:$version-$("$bin/python" ops/code.py "$TORCH")
if [ "${1:-}" = name ]; then
    echo "$image"
    exit
fi
if docker image inspect "$image" >/dev/null 2>&1; then
    echo "$image is there already" >&2
    echo "$image"
    exit
fi

# The first folder with a wheel of the pinned torch among those that pip looks through, as its configuration shows them.
folder_of_pip() {
    pinned=$(sed -n 's/^torch==\([^ ;]*\).*/\1/p' requirements/service.txt)
    { echo "${PIP_FIND_LINKS:-}" && "$bin/python" -m pip config list 2>/dev/null; } \
        | sed -n "s/^[^ ]*find-links='\(.*\)'\$/\1/; /^[^ ]*=/!p" | sed 's/\\n/ /g' | tr ' ' '\n' \
        | while read -r folder; do
            folder=${folder#file://}
            for wheel in "$folder"/torch-"$pinned"*.whl; do
                [ ! -e "$wheel" ] || { echo "$folder" && return; }
            done
        done
}

wheels="" options=""
if [ "$TORCH" = cpu ]; then
    from=${TORCH_INDEX:-$(folder_of_pip)}
    if [ -d "$from" ]; then
        # A build sees no folder of the host but its own: this one comes as an image.
        wheels=hexbite-wheels options="--no-index --find-links /wheels"
        trap 'docker image rm "$wheels" >/dev/null 2>&1 || true' EXIT
        tar -C "$from" -c . | docker import - "$wheels" >/dev/null
    elif [ -n "$from" ]; then
        options="--index-url $from"
    else
        fail "say where CPU builds of torch are: TORCH_INDEX=URL, the CPU index that pytorch.org's \"Get started\" page \
names, or TORCH_INDEX=FOLDER (or PIP_FIND_LINKS) with a wheel in it; TORCH=cuda takes the default build, gigabytes larger"
    fi
fi

echo "building $image" >&2
bento=$(COLUMNS=4096 HEXBITE_MODEL=$(basename "$(dirname "$path")"):$version "$bin/bentoml" build --output tag 2>/dev/null) \
    || fail "bentoml build failed: run it to see why"

# From /: BentoML takes a template for a stranger's where its temporary folder is outside the working directory
# (its issue 5566).
cd /
PYTHONWARNINGS=ignore "$bin/bentoml" containerize "${bento#__tag__:}" --image-tag "$image" \
    ${wheels:+--opt build-arg=WHEELS="$wheels"} ${options:+--opt build-arg=TORCH_FROM="$options"} >&2
echo "$image"
