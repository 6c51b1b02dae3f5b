"""One namespace's mounts, the propagation between all namespaces, and the roots with their layouts. Pure."""
