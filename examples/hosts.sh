#!/bin/sh
# Hosts on one machine, to try a cluster on: each has a network, processes, a name, /tmp/ray and /dev/shm of its own.
# The machine itself is 10.77.0.254 in their network. As root:
#
#   hosts.sh up NAME ADDRESS      such as `up head 10.77.0.1`
#   hosts.sh in NAME COMMAND...   runs a command there, in the current folder
#   hosts.sh kill NAME            takes its power away
#   hosts.sh down                 kills all, and removes the network
set -eu
bridge=cfsweep0
run=/run/cfsweep-hosts

up() {
    mkdir -p "$run" /tmp/ray
    if ! ip link show "$bridge" >/dev/null 2>&1; then
        # By an address of its own: else it has that of one of its hosts, and changes it when this one goes.
        ip link add "$bridge" address 02:00:0a:4d:00:fe type bridge
        ip address add 10.77.0.254/24 dev "$bridge"
        ip link set "$bridge" up
    fi
    ip netns add "cfsweep-$1"
    ip link add "cfs-$1" type veth peer name eth0 netns "cfsweep-$1"
    ip link set "cfs-$1" master "$bridge" up
    ip -n "cfsweep-$1" address add "$2/24" dev eth0
    ip -n "cfsweep-$1" link set eth0 up
    ip -n "cfsweep-$1" link set lo up
    begin="mount -t tmpfs tmpfs /tmp/ray; mount -t tmpfs tmpfs /dev/shm; hostname $1; exec sleep infinity"
    setsid ip netns exec "cfsweep-$1" unshare --mount --pid --uts --fork --mount-proc sh -c "$begin" \
        >/dev/null 2>&1 </dev/null &
    until init=$(cat "/proc/$!/task/$!/children") && [ -n "$init" ]; do sleep 0.05; done
    echo "${init% }" >"$run/$1"
    until [ "$(nsenter --target "${init% }" --uts hostname)" = "$1" ]; do sleep 0.05; done
}

kill_host() {
    [ ! -e "$run/$1" ] || kill -9 "$(cat "$run/$1")" 2>/dev/null || true
    rm -f "$run/$1"
    ip link delete "cfs-$1" 2>/dev/null || true # it would stay as long as the kernel takes to clean up
    ip netns delete "cfsweep-$1"
}

case "${1:-}" in
up) up "$2" "$3" ;;
in)
    init=$(cat "$run/$2")
    shift 2
    exec nsenter --target "$init" --mount --pid --net --uts --wd="$PWD" -- "$@"
    ;;
kill) kill_host "$2" ;;
down)
    for name in $(ip netns list | sed -n 's/^cfsweep-\([^ ]*\).*/\1/p'); do
        kill_host "$name"
    done
    ip link delete "$bridge" 2>/dev/null || true
    rm -rf "$run"
    ;;
*) sed -n '2,9s/^# \{0,1\}//p' "$0" && exit 2 ;;
esac
