"""mountwarden who: which of many mounts of one file system is meant, and that it never contradicts predict."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest
from mountwarden.busy import find
from mountwarden.busy.answer import BusyReport, Keeper
from mountwarden.cli.who import text
from mountwarden.kernel import abi, syscalls
from mountwarden.predict.umount import Forecast, umount

from tests.kernel.test_who import MERGED, hows, process, resident, who
from tests.kernel.topology import Home
from tests.support.scratch_ns import Namespace, Sandbox, hold

CLONE_NEWNET, CLONE_NEWUTS = 0x40000000, 0x04000000


def pids(keepers: list[Keeper]) -> set[int]:
    return {holder.pid for keeper in keepers for holder in keeper.holders}


def bind(source: bytes, target: bytes, *, file: bool = False) -> None:
    """Bind on a directory or file that is made for it."""
    if file:
        open(target, "wb").close()
    else:
        os.makedirs(target, exist_ok=True)
    syscalls.mount(source, target, None, abi.MS_BIND)


@contextmanager
def namespace_of(home: Home, path: bytes, kind: int, name: str) -> Iterator[int]:
    """A process in a new namespace, and a file that keeps that: its inode number."""
    with resident(home.sandbox, lambda: syscalls.unshare(kind)) as pid:
        home.run(lambda: bind(f"/proc/{pid}/ns/{name}".encode(), path, file=True))
        yield pid


@pytest.mark.parametrize(("kind", "name"), [(CLONE_NEWNET, "net"), (CLONE_NEWUTS, "uts")])
def test_a_namespace_s_file_is_that_namespace_and_not_its_neighbour(home: Home, kind: int, name: str) -> None:
    """All of them are on one device."""
    with (
        namespace_of(home, b"/mnt/blue", kind, name) as blue,
        namespace_of(home, b"/mnt/red", kind, name) as red,
        resident(home.sandbox, lambda: os.open("/mnt/red", os.O_RDONLY)),
        resident(home.sandbox, lambda: os.open(f"/proc/{blue}/ns/{name}", os.O_RDONLY)) as opener,
        hold(home.sandbox, propagation="private") as severed,
    ):
        answer = who(home, "/mnt/blue")
        assert answer.target.space == (name, os.stat(f"/proc/{blue}/ns/{name}").st_ino)
        assert pids(hows(answer, "lives")) == {blue}
        assert pids(hows(answer, "file")) == {opener}
        assert {(k.where, k.namespace) for k in hows(answer, "mount")} == {
            (b"/mnt/blue", home.sandbox.inode),
            (b"/mnt/blue", severed.inode),
        }
        assert b"/mnt/red" not in {keeper.where for keeper in answer.keepers}
        assert red not in pids(list(answer.keepers))
        for asked in (f"{name}:[{answer.target.space[1]}]", f"/proc/{blue}/ns/{name}"):
            assert who(home, asked).keepers == answer.keepers, asked
        assert f"(namespace {answer.target.path.decode()}): kept busy" in text(answer)  # type: ignore[union-attr]


def make_proc() -> None:
    os.mkdir("/mnt/proc")
    syscalls.mount(b"/proc", b"/mnt/proc", None, abi.MS_BIND)


def make_dev_null() -> None:
    bind(b"/dev/null", b"/mnt/null", file=True)


def make_directory() -> None:
    os.makedirs("/mnt/d")
    open("/mnt/d/file", "w").close()
    bind(b"/mnt/d", b"/mnt/o")
    bind(b"/mnt/d", b"/mnt/elsewhere")


def make_file() -> None:
    open("/mnt/whole", "w").close()
    bind(b"/mnt/whole", b"/mnt/file", file=True)


BINDS: dict[str, tuple[Callable[[], None], str, str, str]] = {
    "proc": (make_proc, "/mnt/proc", "/mnt/proc/1", "/proc/1"),
    "devtmpfs": (make_dev_null, "/mnt/null", "/mnt/null", "/dev/null"),
    "directory": (make_directory, "/mnt/o", "/mnt/o/file", "/mnt/d/file"),
    "file": (make_file, "/mnt/file", "/mnt/file", "/mnt/whole"),
}


@pytest.mark.parametrize("which", BINDS)
def test_a_bind_is_kept_by_users_of_that_mount_alone(home: Home, which: str) -> None:
    make, asked, inside, outside = BINDS[which]
    home.run(make)

    def opened(path: str) -> Callable[[], int]:
        return lambda: os.open(path, os.O_PATH)

    with resident(home.sandbox, opened(outside)) as other:
        answer = who(home, asked)
        assert [(k.how, k.where) for k in answer.keepers if k.namespace == home.sandbox.inode] == [
            ("mount", asked.encode())
        ]
        assert other not in pids(list(answer.keepers))
    with resident(home.sandbox, opened(inside)) as user:
        assert pids(hows(who(home, asked), "file")) == {user}


def overlay_by(options: bytes, merged: bytes) -> Callable[[], None]:
    def make() -> None:
        for name in (b"/mnt/disk", merged):
            os.makedirs(name, exist_ok=True)
        syscalls.mount(b"disk", b"/mnt/disk", b"tmpfs")
        for name in (b"/mnt/disk/1", b"/mnt/disk/2", b"/mnt/disk/in"):
            os.makedirs(name, exist_ok=True)
        os.chdir("/mnt/disk")
        syscalls.mount(b"overlay", merged, b"overlay", 0, options)

    return make


def test_an_overlay_that_hides_its_own_layer_is_not_made_of_what_is_there_now(home: Home) -> None:
    """As the root of a live image is, whose layers were mounted where something else is by now."""
    home.run(overlay_by(b"lowerdir=/mnt/disk/1:/mnt/disk/2", b"/mnt/image"))
    assert len(hows(who(home, "/mnt/disk"), "overlay")) == 1

    def cover() -> None:
        """Another file system at the layers' path, within the overlay's own tree."""
        syscalls.mount(b"/mnt/image", b"/mnt/disk", None, abi.MS_BIND)
        syscalls.mount(b"new", b"/mnt/disk", b"tmpfs")
        for name in ("1", "2"):
            os.makedirs(f"/mnt/disk/{name}")

    home.run(cover)
    answer = who(home, "/mnt/disk")
    assert hows(answer, "overlay") == []


def test_a_path_of_an_option_that_leads_elsewhere_is_not_believed(home: Home) -> None:
    home.run(overlay_by(b"lowerdir=/mnt/disk/1:/mnt/disk/2", b"/mnt/merged"))

    def cover() -> None:
        syscalls.mount(b"other", b"/mnt/disk", b"tmpfs")

    home.run(cover)
    assert hows(who(home, "/mnt/disk"), "overlay") == [], "nothing is at these paths now"


def test_a_relative_path_is_not_believed(home: Home) -> None:
    home.run(overlay_by(b"lowerdir=1:2", b"/mnt/merged"))

    def ask() -> BusyReport:
        os.chdir("/mnt/disk")
        return find.who("/mnt/disk")

    assert hows(home.run(ask), "overlay") == []


def test_a_link_of_an_option_leads_to_its_directory(home: Home) -> None:
    """As Docker's l/ABCD are."""
    home.run(lambda: os.makedirs("/mnt/real/1"))
    home.run(lambda: os.symlink("/mnt/real", "/mnt/link"))
    home.run(overlay_by(b"lowerdir=/mnt/link/1:/mnt/disk/2", b"/mnt/merged"))
    assert [k.where for k in hows(who(home, "/mnt/real/1"), "overlay")] == [b"/mnt/merged"]


def test_a_path_is_that_of_the_namespace_that_shows_the_overlay(home: Home) -> None:
    """Two hosts' worth of the same paths: each overlay is made of its own."""
    home.run(lambda: os.makedirs("/mnt/disk/1"))
    with Sandbox() as other:
        other.run(overlay_by(b"lowerdir=/mnt/disk/1:/mnt/disk/2", b"/mnt/merged"))
        for asked in ("/mnt/disk/1", "/mnt"):
            assert hows(who(home, asked), "overlay") == [], asked


def test_an_overlay_that_is_left_where_its_layers_are_not_shown(home: Home) -> None:
    home.run(overlay_by(b"lowerdir=/mnt/disk/1:/mnt/disk/2", b"/mnt/merged"))
    with hold(home.sandbox, propagation="private") as space:
        space.run(lambda: syscalls.umount(b"/mnt/disk", 0))
        home.umount(b"/mnt/merged")
        assert [k.namespace for k in hows(who(home, "/mnt/disk"), "overlay")] == [space.inode]


def test_an_overlay_with_many_binds_is_told_once(home: Home) -> None:
    home.run(overlay_by(b"lowerdir=/mnt/disk/1:/mnt/disk/2", b"/mnt/merged"))
    for number in range(3):
        home.run(lambda number=number: bind(b"/mnt/merged", b"/mnt/b%d" % number))  # type: ignore[misc]
    (keeper,) = hows(who(home, "/mnt/disk"), "overlay")
    assert keeper.detail == "lowerdir, by its options, and 3 more mounts of it"


def test_what_goes_along_is_no_holder_and_nobody_is_advised_to_stop_it(home: Home) -> None:
    home.layer()
    with hold(home.sandbox, propagation="slave") as slave, hold(home.sandbox, propagation="private") as severed:
        answer = who(home, MERGED)
        assert {k.namespace for k in answer.keepers} == {home.sandbox.inode, severed.inode}
        (along,) = answer.followers
        assert (along.namespace, along.where) == (slave.inode, MERGED)
        (line,) = (line for line in text(answer, 1000).splitlines() if "goes along" in line)
        assert f"process {slave.pid} " in line
        device = answer.target.device
        home.umount(MERGED)
        after = who(home, device)
        assert ([k.namespace for k in after.keepers], after.followers) == ([severed.inode], ())


@contextmanager
def nothing(_home: Home) -> Iterator[None]:
    yield None


@contextmanager
def copy(home: Home, propagation: str, *, cwd: bool = False) -> Iterator[Namespace]:
    with hold(home.sandbox, propagation=propagation, cwd=MERGED if cwd else None) as space:  # type: ignore[arg-type]
        yield space


@contextmanager
def inside(home: Home) -> Iterator[Namespace]:
    """A slave with something mounted in its copy."""
    with hold(home.sandbox, propagation="slave") as space:
        space.run(lambda: os.mkdir(MERGED + b"/in"))
        space.run(lambda: syscalls.mount(b"tmpfs", MERGED + b"/in", b"tmpfs"))
        yield space


def socket_in() -> object:
    import socket

    bound = socket.socket(socket.AF_UNIX)
    bound.bind(MERGED + b"/s")
    return bound


TOPOLOGIES: dict[str, Callable[[Home], object]] = {
    "alone": nothing,
    "live slave copy": lambda home: copy(home, "slave"),
    "live peer copy": lambda home: copy(home, "shared"),
    "severed copy": lambda home: copy(home, "private"),
    "busy slave copy": lambda home: copy(home, "slave", cwd=True),
    "busy severed copy": lambda home: copy(home, "private", cwd=True),
    "mounted in a copy": inside,
    "open file": lambda home: resident(home.sandbox, lambda: os.open(MERGED + b"/f", os.O_CREAT | os.O_RDONLY)),
    "working directory": lambda home: resident(home.sandbox, lambda: os.chdir(MERGED)),
    "bound socket": lambda home: resident(home.sandbox, socket_in),
    "open file in a severed copy": lambda home: process(home, lambda: os.open(MERGED + b"/f", os.O_CREAT)),
    "user namespace": lambda home: hold(home.sandbox, propagation=None, userns=True),
}


def told(home: Home, path: bytes) -> tuple[Forecast, BusyReport]:
    return home.run(lambda: umount(path, lazy=False)), who(home, path)


@pytest.mark.parametrize("which", TOPOLOGIES)
def test_who_and_predict_say_the_same(home: Home, which: str) -> None:
    home.layer()
    with ExitStack() as stack:
        stack.enter_context(TOPOLOGIES[which](home))  # type: ignore[arg-type]
        forecast, answer = told(home, MERGED)
        elsewhere = {k.mount for k in hows(answer, "mount") if k.namespace != home.sandbox.inode}
        along = {one.mount for one in answer.followers}
        links = [k for k in answer.keepers if k.how in ("cwd", "root", "exe", "map", "file", "socket")]
        because = {one.holder.pid for one in forecast.because if one.holder}
        assert because <= pids(links), "who makes it busy is named"
        assert elsewhere.isdisjoint(along)
        assert along.isdisjoint(k.mount for k in links), "what is busy does not just go along"
        if forecast.answer == "ok":
            assert along == {place.mount.id for place in forecast.reached}, "what goes along"
            assert elsewhere == {one.place.mount.id for one in forecast.left}, "and what stays"
            stays = {one.place.mount.id for one in forecast.left}
            assert all(k.mount in stays for k in links), "nobody else is accused"
        else:
            assert links


def test_a_sticky_umount_really_is_what_both_said(home: Home) -> None:
    """The kernel's own answer, once what `who` names is gone."""
    home.layer()
    with hold(home.sandbox, propagation="slave") as slave, resident(home.sandbox, lambda: os.chdir(MERGED)) as pid:
        assert pid in pids(hows(who(home, MERGED), "cwd"))
        with pytest.raises(OSError, match="busy"):
            home.umount(MERGED)
        follower = {one.namespace for one in who(home, MERGED).followers}
        assert slave.inode in follower
    home.umount(MERGED)


def test_who_and_report_say_the_same(home: Home) -> None:
    """Of a layer that home has unmounted: the namespaces that still have it."""
    home.layer()
    with hold(home.sandbox, propagation="private") as severed, hold(home.sandbox, propagation="slave"):
        device = who(home, MERGED).target.device
        home.umount(MERGED)
        leaked = {copy.namespace for finding in home.leaked() for copy in finding.copies}
        assert leaked == {keeper.namespace for keeper in who(home, device).keepers} == {severed.inode}


def test_a_peer_in_the_same_namespace_is_told_once_and_goes_along(home: Home) -> None:
    """`ip netns add` binds /run/netns on itself, as a shared mount: each file is mounted twice at one path."""

    def make() -> None:
        os.mkdir("/mnt/netns")
        bind(b"/mnt/netns", b"/mnt/netns")
        bind(b"/proc/self/ns/net", b"/mnt/netns/blue", file=True)

    home.run(make)
    answer = who(home, "/mnt/netns/blue")
    assert len(hows(answer, "mount")) == 1
    assert [(one.namespace, one.where) for one in answer.followers] == [(home.sandbox.inode, b"/mnt/netns/blue")]
    home.umount(b"/mnt/netns/blue")
    assert not home.sandbox.is_mounted(b"/mnt/netns/blue")


def test_many_descriptors_of_a_file_are_told_once_and_ours_not_at_all(home: Home) -> None:
    home.run(lambda: bind(b"/proc", b"/mnt/proc"))
    with resident(home.sandbox, lambda: [os.open("/mnt/proc/version", os.O_RDONLY) for _ in range(3)]) as pid:
        (keeper,) = (one for one in who(home, "/mnt/proc").keepers if one.how != "mount")
        assert pids([keeper]) == {pid}
        assert keeper.detail.endswith(" and 2 more")
    here = home.run(lambda: (os.getpid(), find.who("/proc")))
    assert here[0] not in pids([one for one in here[1].keepers if one.how != "mount"])


def test_long_lines_are_wrapped_and_commands_are_not(home: Home) -> None:
    layer = home.layer(b"x" * 60)
    with hold(home.sandbox, propagation="private", cwd=layer.merged):
        lines = text(who(home, layer.merged), 60).splitlines()
    path = layer.merged.decode()
    assert [line for line in lines if len(line) > 60 and path not in line] == [], "a path is left whole"
    assert len(lines) > 6
    assert "in the mount namespace of" in " ".join(" ".join(lines).split())


def test_mounts_of_one_namespace_that_one_thing_releases_are_one_entry(home: Home) -> None:
    home.layer()
    with hold(home.sandbox, propagation="private") as severed:
        for name in (b"1", b"2", b"3"):
            severed.run(lambda name=name: bind(MERGED, b"/mnt/" + name))  # type: ignore[misc]
        answer = who(home, MERGED)
        lines = text(answer, 1000).splitlines()
    assert len(answer.keepers) == 5
    assert sum(line.startswith("  mount ") for line in lines) == 2
    assert any("/mnt/1 (overlay), /mnt/2 (overlay)" in line for line in lines)
