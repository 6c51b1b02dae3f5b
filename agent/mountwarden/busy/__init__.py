"""Who keeps a file system, a device or a layer busy, in any namespace, and what each would need to let go."""
