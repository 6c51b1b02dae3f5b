"""Tar archives as layers come in: read, written, extracted."""
