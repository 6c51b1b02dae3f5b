"""A small module an engine: where its roots are, how they are laid out, whose view of them counts, what it recorded.

Each module offers `roots(daemons, config)` and, where the engine keeps a record, `record(root, layer, rel)`.
"""
