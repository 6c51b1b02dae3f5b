"""The daemon: its loop, its automatic actions, what it reports and publishes."""
