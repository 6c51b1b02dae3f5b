"""The `overlay` graphdriver: layers of container images as directories, hard links and overlay mounts.

It stands apart from the agent, which never imports it: a command line (`mountwarden layer`), a storage plugin for
Docker (`mountwarden graphdriver`), and a real driver for the demo and the doctor's canary. Its `put` is where
rmdir-on-put comes from: after the detach it removes the mountpoint, so that the copies of every mount namespace go
too.
"""
