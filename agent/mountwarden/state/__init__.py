"""The service's files in /run/mountwarden, which do not outlive the boot."""
