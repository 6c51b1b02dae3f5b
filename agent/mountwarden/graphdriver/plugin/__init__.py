"""Docker's protocol for graph drivers, over a UNIX socket."""
