#!/usr/bin/env bash
# A million WebSockets with heartbeats on one machine, both ends: examples/swarm/million.sh [CONNECTIONS] [SECONDS]
#
# 55 server processes on ports of their own, and as many client processes, each client's connections at one server or two: with one port
# for all, SO_REUSEPORT spreads connections by hash, and some process would exceed its 20,000 open files. Every server process pings each of
# its clients after 25 s of silence. The kernel takes about 3.2 KB for each socket, two sockets for each connection: 6.4 GB for a million.
# At 3,000 a second opening takes five and a half minutes, in which the heartbeats of those that are open go on.
#
# The report (JSON) goes to target/million.json, the progress to the terminal.
set -euo pipefail
cd "$(dirname "$0")/../.."

connections=${1:-1000000}
seconds=${2:-300}
processes=$(((connections + 18199) / 18200))

files=$(ulimit -n)
need=$(((connections + processes - 1) / processes + 64))
if [ "$files" -lt "$need" ]; then
    echo "each process opens $need files, and the limit is $files: ulimit -n $need" >&2
    exit 1
fi
most=$(cat /proc/sys/fs/file-max)
if [ "$most" -lt $((2 * connections + 20000)) ]; then
    echo "$((2 * connections + 20000)) open files in all, and the limit is $most: sysctl fs.file-max=$((2 * connections + 50000))" >&2
    exit 1
fi
free=$(awk '/^MemAvailable/ { print int($2 / 1024) }' /proc/meminfo)
memory=$((connections * 7 / 1000 + processes * 8))
if [ "$free" -lt "$memory" ]; then
    echo "about $memory MiB of memory are needed, and $free MiB are available" >&2
    exit 1
fi

cargo build --release --quiet --example echo --example swarm
echo "$connections connections, $processes server and $processes client processes; $free MiB available" >&2
# What the kernel takes shows only in the machine's memory as a whole.
(
    while sleep 20; do
        awk '/^(MemAvailable|Slab)/ { printf "%s %d MiB  ", $1, $2 / 1024 } END { print "" }' /proc/meminfo >&2
        awk '/^TCP:/ { print "sockets", $0 }' /proc/net/sockstat >&2
    done
) &
watcher=$!
trap 'kill "$watcher" 2>/dev/null || true' EXIT
status=0
target/release/examples/swarm hold --servers "$processes" --processes "$processes" --connections "$connections" \
    --open-rate 3000 --duration "$seconds" --json >target/million.json || status=$?
cat target/million.json
exit "$status"
