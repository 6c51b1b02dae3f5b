"""The users of /etc/passwd, passwd(5): read as a file, since what nsswitch.conf(5) names beside it may hang."""

from dataclasses import dataclass

from ..files import read_regular

_LONGEST = 4 << 20
_MOST_PARTS = 7


@dataclass(frozen=True, slots=True)
class Account:
    """One line."""

    name: str
    uid: int
    home: bytes


def accounts(path: str = "/etc/passwd") -> tuple[Account, ...]:
    """All users, in the order of the file, the first of each number; none where it can't be read."""
    try:
        lines = read_regular(path, _LONGEST).data.split(b"\n")
    except OSError:
        return ()
    found: dict[int, Account] = {}
    for line in lines:
        parts = line.split(b":")
        if len(parts) == _MOST_PARTS and parts[2].isdigit() and len(parts[2]) <= 10 and parts[5].startswith(b"/"):
            one = Account(parts[0].decode("utf-8", "surrogateescape"), int(parts[2]), parts[5])
            found.setdefault(one.uid, one)
    return tuple(found.values())


def name(uid: int) -> str:
    """The user's name; the number where the file has none."""
    return next((one.name for one in accounts() if one.uid == uid), str(uid))
