"""What an umount would do, in every namespace: a model of propagation in the kernel, and what this host has to it."""
