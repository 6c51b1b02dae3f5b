#!/bin/sh
# In a container with the host's / on /host: have the working directory in a mountpoint that the host has unmounted, as
# this namespace sees it: PAUSE seconds (default 0.3) in one after the other, with 2 s between; with "all", in all at
# once, to stay.
# usage: sit_in_mountpoints.sh [PAUSE|all] [ROOT]...
pause=${1:-0.3}
[ $# = 0 ] || shift
[ $# != 0 ] || set -- /srv/layers

echo ready
if [ "$pause" = all ]; then
    for root in "$@"; do
        for place in "/host$root"/*/merged; do
            (cd "$place" && exec sleep 1000000) &
        done
    done
    wait
fi
while :; do
    for root in "$@"; do
        for place in "/host$root"/*/merged; do
            (cd "$place" 2>/dev/null && exec sleep "$pause")
            sleep 2
        done
    done
done
