"""The service's files in /run/mountwarden, which end with the boot."""
