"""One namespace's mounts, all namespaces' propagation, the roots and their layouts: from what was read. Pure."""
