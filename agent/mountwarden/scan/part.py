"""How much of the host one scan of the service looks at. Pure."""

from dataclasses import dataclass

SHARE = 0.125
"""Of the namespaces, the part that a resync reads again where nothing asks for more: each of them is read in eight."""


@dataclass(frozen=True, slots=True)
class Part:
    """What a scan reads of the namespaces that are no home, where it does not read all that may have changed.

    It reads what must be known now: where something is about to be confirmed, and where something may have been left
    behind that home has unmounted. All else is read in later scans.
    """

    allowance: float = 0.0
    """Processor seconds for those that only may have a copy of what home has unmounted, and then for those that a
    resync reads again. One of them is read even so where that was found nowhere yet.
    """
    again: bool = False
    """Whether all namespaces in which something was found, and all new ones, are read now, and what home has unmounted
    is looked for at once: somebody asks.
    """
    unchanged: bool = False
    """Whether nothing has told of a mount of home since it was looked at last."""
    share: float = SHARE
    """Of a resync, the part of the namespaces that are read again, the longest unread first; 1 for all."""
