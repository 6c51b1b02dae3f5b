"""What `mountwarden predict` says of a foreseen umount."""

from mountwarden.cli.predict import document, text
from mountwarden.explain.members import Members
from mountwarden.model import Cause, Gap, Holder, NamespaceKind
from mountwarden.mounts.graph import PlacedMount
from mountwarden.mounts.propagation import UmountResult
from mountwarden.predict.occupants import Occupant
from mountwarden.predict.survivors import Why
from mountwarden.predict.umount import Forecast, Left, Space

from tests.unit.pictures import mount

PATH = b"/srv/data"
MOUNT = mount(7, 1, "/srv/data")


def place(namespace: int, identity: int = 70) -> PlacedMount:
    return PlacedMount(namespace, mount(identity, 60, "/srv/data"))


def space(pid: int, unit: str | None = None, cause: str | None = None) -> Space:
    found = Members(NamespaceKind.SERVICE, (Holder(pid, "worker", unit),))
    return Space(found, Cause("mount-flags", cause) if cause else None)


def foreseen(**other: object) -> Forecast:
    return Forecast(**({"path": PATH, "lazy": False, "mount": MOUNT, "answer": UmountResult.OK} | other))  # type: ignore[arg-type]


def test_what_succeeds_and_concerns_nobody_is_one_line() -> None:
    assert text(foreseen()) == "umount of /srv/data would succeed, reach no copy and leave nothing behind\n"


def test_each_namespace_is_told_once_with_its_cause() -> None:
    left = (Left(place(5, 71), Why.SEVERED), Left(place(5, 72), Why.SEVERED))
    spaces = {4: space(40, "web.service"), 5: space(50, "db.service", "db.service has MountFlags=private.")}
    assert text(foreseen(reached=(place(4),), left=left, spaces=spaces)) == (
        "umount of /srv/data would succeed, reach 1 copy and leave 2 copies behind\n"
        "  also goes: /srv/data (mount 70) in the namespace of web.service\n"
        "  stays: /srv/data (mount 71) and 1 more mount in the namespace of db.service\n"
        "    why: db.service has MountFlags=private.\n"
        "  what stays on the same directory goes when that is removed (rmdir), in all namespaces\n"
    )


def test_many_are_counted() -> None:
    left = tuple(Left(place(number), Why.ELSEWHERE) for number in range(13))
    reached = tuple(place(number) for number in range(12))
    lines = text(foreseen(reached=reached, left=left, spaces={n: space(n) for n in range(13)})).splitlines()
    assert lines.count("  also goes: 2 more") == 1
    assert lines[-1] == "  stays: 3 more", "nothing to remove where none is on the same directory"


def test_who_makes_it_busy_and_how() -> None:
    because = (
        Occupant("fd 3", 7, Holder(9, "tail", "log.service"), b"/srv/data/log"),
        Occupant("socket", 70, Holder(10, "db", None, "0123456789abcdef" * 4), b"/run/s"),
        Occupant("loop0", 7, None, b"/srv/data/image"),
        Occupant("swap", 7, None, b"/srv/data/swap"),
    )
    told = foreseen(answer=UmountResult.BUSY, because=because, below=(PlacedMount(1, mount(8, 7, "/srv/data/in")),))
    assert text(told) == (
        "umount of /srv/data would fail: it is busy\n"
        "  busy: process 9 (tail, log.service) has its descriptor 3, /srv/data/log\n"
        "  busy: process 10 (db, container 0123456789ab) has a bound socket on the copy in its namespace, /run/s\n"
        "  busy: /dev/loop0 is on its file /srv/data/image\n"
        "  busy: swap is on its file /srv/data/swap\n"
        "  busy: tmpfs mounted at /srv/data/in\n"
    )
    data = document(told)
    assert [holder["pid"] for holder in data["because"]] == [9, 10]
    assert [one["device"] for one in data["devices"]] == ["loop0", "swap"]
    assert [one["mount_id"] for one in data["below"]] == [8]


def test_what_could_not_be_seen_and_what_is_inferred_is_told() -> None:
    told = foreseen(gaps=(Gap("the mounts of a namespace", "EACCES", 5, 2),), inferred=True)
    assert "  this depends on which mounts user namespaces lock, which is inferred" in text(told)
    assert text(told).endswith("could not read the mounts of a namespace in namespace 5, 2 times: EACCES\n")
    assert (document(told)["complete"], document(told)["locks_inferred"]) == (False, True)


def test_a_name_of_the_host_reaches_no_terminal_as_it_is() -> None:
    evil = foreseen(path=b"/srv/\x1b[31m", because=(Occupant("cwd", 7, Holder(9, "a\nb", "x\x1b.service"), b"/\n"),))
    assert all(line.isprintable() for line in text(evil).splitlines())
    assert "\\x1b" in text(evil)
    assert document(evil)["path"] == "/srv/\\x1b[31m"
