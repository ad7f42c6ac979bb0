#!/bin/sh
# The image of one model with the code that lies here: hexbite:VERSION, where VERSION is the model's. `make image` and
# `make deploy` come here; prints the image's name.
#
#   BIN          folder of the programs of the environment
#   MODEL        tag in the model store
#   TORCH        cpu or cuda
#   TORCH_INDEX  for cpu: address of the index that has torch's CPU builds, or a folder of wheels
set -eu

fail() {
    echo "error: $1" >&2
    exit 1
}

docker info >/dev/null 2>&1 || fail "an image needs a Docker engine that runs, and this user's right to use it"
bin=$(cd "$BIN" && pwd)

case "$TORCH" in
    cuda) wheels="" options="" ;;
    cpu)
        if [ -d "$TORCH_INDEX" ]; then
            # A build sees no folder of the host but its own: this one comes as an image.
            wheels=hexbite-wheels options="--no-index --find-links /wheels"
            trap 'docker image rm "$wheels" >/dev/null 2>&1 || true' EXIT
            tar -C "$TORCH_INDEX" -c . | docker import - "$wheels" >/dev/null
        elif [ -n "$TORCH_INDEX" ]; then
            wheels="" options="--index-url $TORCH_INDEX"
        else
            fail "say where CPU builds of torch are: TORCH_INDEX=URL, the CPU index that pytorch.org's \"Get started\" \
page names, or TORCH_INDEX=FOLDER with a wheel in it; TORCH=cuda takes the default build, gigabytes larger"
        fi
        ;;
    *) fail "TORCH is cpu or cuda" ;;
esac

export BENTOML_DO_NOT_TRACK=True
path=$("$bin/bentoml" models get "$MODEL" --output path 2>/dev/null) || fail "no model $MODEL in the model store"
version=$(basename "$path")
bento=$(HEXBITE_MODEL=hexbite:$version "$bin/bentoml" build --output tag 2>/dev/null) \
    || fail "bentoml build failed: run it to see why"
image=hexbite:$version

# From /: BentoML takes a template for a stranger's where its temporary folder is outside the working directory
# (its issue 5566).
cd /
PYTHONWARNINGS=ignore "$bin/bentoml" containerize "${bento#__tag__:}" --image-tag "$image" \
    ${wheels:+--opt build-arg=WHEELS="$wheels"} ${options:+--opt build-arg=TORCH_FROM="$options"} >&2
echo "$image"
