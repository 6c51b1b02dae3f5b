"""`python3 -m mountwarden`."""

from .cli.main import run

run()
