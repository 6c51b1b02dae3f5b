"""Names that systemd gives to units. Pure."""

_PLAIN = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789:_.")


def mount_unit(mountpoint: bytes) -> str:
    """The name of the unit of a mountpoint, systemd.unit(5), "String Escaping for Inclusion in Unit Names"."""
    path = mountpoint.strip(b"/")
    escaped = (_escaped(byte, first=at == 0) for at, byte in enumerate(path))
    return ("".join(escaped) or "-") + ".mount"


def _escaped(byte: int, *, first: bool) -> str:
    if byte == ord("/"):
        return "-"
    return chr(byte) if byte in _PLAIN and not (first and byte == ord(".")) else f"\\x{byte:02x}"
