"""The daemon: its loop, what it acts on, what it publishes."""
