"""The configuration: its schema, its files, and how they are read and printed."""
