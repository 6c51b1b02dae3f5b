"""Attacks by ordinary users and containers of a host, and how the service does its work meanwhile: `make siege`."""
