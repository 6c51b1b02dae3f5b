"""The overlay driver on a home of its own, for the tests of what is its own."""

from pathlib import Path

from mountwarden.graphdriver.idmap import IdMap
from mountwarden.graphdriver.overlay import OverlayDriver

from tests.kernel.graphdriver import tars

HOME = Path("/mnt/home")
MAPS = (IdMap(0, 100_000, 65_536),)


def make(**maps: tuple[IdMap, ...]) -> OverlayDriver:
    """The driver on `HOME`, with id maps or without."""
    return OverlayDriver.init(str(HOME), load_module=False, **maps)


def image(driver: OverlayDriver, layer: str = "base", parent: str = "", *entries: tars.Entry) -> None:
    """A layer of these entries; of two files and a directory if none are given."""
    driver.create(layer, parent)
    driver.apply_diff(layer, parent, tars.tar(*(entries or (tars.directory("d"), ("d/f", b"1"), ("g", b"2")))))


def mountinfo(of: Path = HOME) -> list[str]:
    """The lines of this namespace's mounts below a directory."""
    return [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if f"{of}/" in line]
