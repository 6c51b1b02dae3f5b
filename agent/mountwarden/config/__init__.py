"""The configuration: its shape, its files, and how they are read and shown."""
