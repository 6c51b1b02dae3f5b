"""mountwarden: finds overlay mounts leaked into other mount namespaces, and forces their detach."""

__version__ = "0.1.0"
