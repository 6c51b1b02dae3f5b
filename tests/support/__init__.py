"""What the tests stand on: scratch namespaces, a booted test host, and waiting without sleeping."""
