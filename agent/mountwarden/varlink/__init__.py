"""Varlink (varlink.org) as a library: the wire, a server for somebody else's poll loop, and a client that waits."""
