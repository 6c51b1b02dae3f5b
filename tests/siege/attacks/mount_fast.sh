#!/bin/sh
# In a privileged container with the host's / on /host: mount and unmount as fast as it can, bind graph roots elsewhere,
# and mount over layers, all in this container's own namespace.
mkdir -p /tmp/a /tmp/b
# The names that are there now: what a test plants later is mounted after them.
for root in /host/srv/layers /host/var/lib/docker /host/var/lib/containers/storage; do
    [ ! -d "$root" ] || { mkdir -p "/tmp/b$root" && mount --bind "$root" "/tmp/b$root"; }
done
for layer in /host/var/lib/docker/overlay2/*/merged /host/srv/layers/*/merged; do
    [ ! -d "$layer" ] || mount -t tmpfs over "$layer"
done
echo ready
while :; do
    mount -t tmpfs fast /tmp/a && mkdir /tmp/a/merged /tmp/a/shm
    mount -t tmpfs fast /tmp/a/merged
    mount --bind /tmp/a/merged /tmp/a/shm
    umount /tmp/a/shm
    umount /tmp/a/merged
    umount /tmp/a
done
