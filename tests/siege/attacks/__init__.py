"""The attacks, each a program that needs no right and nothing of mountwarden: /opt/siege/attack NAME [OPTION]...

Each starts, says that it is ready (to systemd, else as a line "ready"), and goes on until it is ended. What it made
ends with its processes, but for FUSE mounts, which root has to unmount.
"""
