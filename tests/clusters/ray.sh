#!/usr/bin/env bash
# A Ray cluster of two nodes on this machine, for root. Needs util-linux, iproute2, and `ray` in PATH.
#   ray.sh run FOLDER COMMAND…   runs COMMAND on the head, in a cluster that ends with it
#   ray.sh node FOLDER NUMBER    within COMMAND: starts node NUMBER
# The cluster has a network of its own, with lo alone: nobody reaches it from outside, and it reaches nobody. Each node
# has a host name of its own, 2 cores, 2 cards that are none, and the address 127.0.0.NUMBER. FOLDER's path is short:
# Ray's sockets are in it.
set -euo pipefail
verb=$1 folder=$2
shift 2

run() {
    mkdir -p "$folder"
    RAY_AUTH_TOKEN=$(od -An -tx1 -N32 /dev/urandom | tr -d ' \n')
    export RAY_AUTH_MODE=token RAY_AUTH_TOKEN
    exec unshare --net --pid --fork --mount-proc --kill-child "$0" inside "$folder" "$@"
}

inside() {
    ip link set lo up
    node "$folder" 1
    node "$folder" 2
    export RAY_ADDRESS=127.0.0.1:26379 MSABENCH_RAY_SH="$folder"
    "$@"
}

node() {
    local number=$2 where=(--address=127.0.0.1:26379)
    [ "$number" = 1 ] && where=(--head --port=26379 --include-dashboard=false)
    # Neither what the driver finds nor what it shares with other users comes from a node's environment.
    env -u RAY_ADDRESS unshare --uts bash -c 'hostname "$1"; shift; exec "$@"' bash "ray-$number" \
        ray start "${where[@]}" --node-ip-address="127.0.0.$number" --num-cpus=2 --num-gpus=2 --memory=4000000000 \
        --object-store-memory=80000000 --temp-dir="$1/$number" --disable-usage-stats \
        --min-worker-port="$((20000 + 1000 * number))" --max-worker-port="$((20999 + 1000 * number))" \
        >"$1/start-$number.log" 2>&1 || { cat "$1/start-$number.log" >&2; return 1; }
}

case $verb in
    run | inside) "$verb" "$@" ;;
    node) node "$folder" "$1" ;;
esac
