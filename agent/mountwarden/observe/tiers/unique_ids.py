"""The unique ids of a namespace's mounts, by the small ones that mountinfo has."""

from collections.abc import Mapping


class UniqueIds(dict[bytes, int]):
    """Unique mount ids by small ones as written; empty where they are not known."""

    def __init__(self, known: Mapping[bytes, int] = {}, *, listing: bytes = b"") -> None:
        """`listing` is the list of the namespace whose lines are taken in afterwards: both are in one order."""
        super().__init__(known)
        self.listing = memoryview(listing).cast("Q")
        self.lines = 0
        """How many lines were taken in."""
        self.ends: tuple[bytes, bytes] = b"", b""
        """The small ids of the first and the last one."""

    def restart(self) -> None:
        """The lines are taken in from the first one on."""
        self.clear()
        self.lines = 0

    def take(self, block: bytes) -> None:
        """The next lines of the namespace."""
        if not self.listing:
            return
        smalls = [line.partition(b" ")[0] for line in block.split(b"\n")[:-1]]
        self.update(zip(smalls, self.listing[self.lines :], strict=False))  # ends with the shorter one
        if smalls:
            self.ends = (self.ends[0] if self.lines else smalls[0]), smalls[-1]
        self.lines += len(smalls)
