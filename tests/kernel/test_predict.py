"""mountwarden predict: what is told of an umount, on real mounts, and that it then comes so."""

import errno
import io
import json
import mmap
import os
import signal
import socket
import subprocess
from contextlib import redirect_stderr, redirect_stdout
from typing import Any

import pytest
from mountwarden.cli import main as command_line
from mountwarden.explain import holders, naming
from mountwarden.kernel import abi, syscalls
from mountwarden.predict.umount import Forecast, umount

from tests.kernel.topology import ROOT, Home
from tests.support.scratch_ns import Namespace, hold

MERGED = ROOT + b"/X/merged"


def predicted(home: Home, path: bytes = MERGED, *, lazy: bool = False) -> Forecast:
    return home.run(lambda: umount(path, lazy=lazy))


def cli(home: Home, *arguments: str) -> tuple[int, str, str]:
    """Status, output and errors of a command in home's namespace."""

    def run() -> tuple[int, str, str]:
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            status = command_line.main(["predict", "umount", *arguments])
        return status, out.getvalue(), err.getvalue()

    return home.run(run)


def document(home: Home, *arguments: str) -> tuple[int, dict[str, Any]]:
    status, out, _err = cli(home, "--json", os.fsdecode(MERGED), *arguments)
    return status, json.loads(out)


def ids(places: list[dict[str, Any]]) -> list[dict[str, int]]:
    return [{"namespace": place["namespace"], "mount_id": place["mount_id"]} for place in places]


def id_of(namespace: Namespace, path: bytes = MERGED) -> int:
    return next(int(line.split()[0]) for line in namespace.mountinfo().splitlines() if line.split()[4] == path)


def name(namespace: Namespace) -> str:
    return naming.name_of([one for one in [holders.holder(namespace.pid)] if one], namespace.inode)


def place(namespace: Namespace) -> dict[str, int]:
    return {"namespace": namespace.inode, "mount_id": id_of(namespace)}


def test_a_slave_s_copy_is_reached_and_a_private_one_is_left(home: Home) -> None:
    home.layer()
    with hold(home.sandbox, propagation="slave") as slave, hold(home.sandbox, propagation="private") as private:
        status, told = document(home)
        assert (status, told["answer"], told["because"]) == (0, "ok", [])
        assert (ids(told["reached"]), ids(told["left"])) == ([place(slave)], [place(private)])
        assert [one["why"] for one in told["left"]] == ["severed"]
        home.umount(MERGED)
        assert not slave.is_mounted(MERGED)
        assert private.is_mounted(MERGED)


def test_a_process_on_a_reached_copy_makes_it_busy(home: Home) -> None:
    home.layer()
    with hold(home.sandbox, propagation="slave", cwd=MERGED) as slave:
        status, told = document(home)
        assert (status, told["answer"], told["reached"]) == (1, "busy", [])
        assert [holder["pid"] for holder in told["because"]] == [slave.pid]
        assert told["because"][0].keys() == {"pid", "comm", "unit", "container", "user", "user_unit"}
        with pytest.raises(OSError, match="busy"):
            home.umount(MERGED)
        assert ids(document(home, "--lazy")[1]["reached"]) == [place(slave)]


def test_a_process_on_a_copy_that_is_not_reached_does_not(home: Home) -> None:
    home.layer()
    with hold(home.sandbox, propagation="private", cwd=MERGED) as private:
        status, told = document(home)
        assert (status, told["answer"], ids(told["left"])) == (0, "ok", [place(private)])
        home.umount(MERGED)


def test_a_mapped_file_makes_it_busy(home: Home) -> None:
    home.layer()

    def ask() -> tuple[str, list[str]]:
        fd = os.open(MERGED + b"/file", os.O_CREAT | os.O_RDWR)
        os.ftruncate(fd, 4096)
        pid = os.fork()
        if pid == 0:
            syscalls.die_with_parent(signal.SIGKILL)
            kept = mmap.mmap(fd, 4096)
            os.closerange(3, 64)
            while kept:
                signal.pause()
        os.close(fd)
        try:
            told = umount(MERGED, lazy=False)
            return str(told.answer), [one.how for one in told.because if one.holder and one.holder.pid == pid]
        finally:
            os.kill(pid, 9)
            os.waitpid(pid, 0)

    answer, hows = home.run(ask)
    assert answer == "busy"
    assert len(hows) == 1


def test_what_is_mounted_below_makes_it_busy(home: Home) -> None:
    home.layer()
    home.run(lambda: (os.mkdir(MERGED + b"/in"), syscalls.mount(b"x", MERGED + b"/in", b"tmpfs")))
    told = predicted(home)
    assert (told.answer, [p.mount.point for p in told.below]) == ("busy", [MERGED + b"/in"])
    status, out, _err = cli(home, os.fsdecode(MERGED))
    assert status == 1
    assert "would fail: it is busy" in out
    assert f"busy: tmpfs mounted at {os.fsdecode(MERGED)}/in" in out


def test_for_people(home: Home) -> None:
    home.layer()
    path = os.fsdecode(MERGED)
    with hold(home.sandbox, propagation="slave", cwd=MERGED) as slave, hold(home.sandbox, propagation="private") as cut:
        status, out, _err = cli(home, path)
        assert status == 1
        assert f"umount of {path} would fail: a copy that it reaches is busy\n" in out
        assert f"busy: process {slave.pid} (" in out
        assert f"has its working directory on the copy in its namespace, {path}" in out
        status, out, _err = cli(home, "--lazy", path)
        assert status == 0
        assert out.startswith(f"umount --lazy of {path} would succeed, reach 1 copy and leave 1 copy behind\n")
        assert f"also goes: {path} (mount {id_of(slave)}) in the namespace of {name(slave)}\n" in out
        assert f"stays: {path} (mount {id_of(cut)}) in the namespace of {name(cut)}\n" in out
        assert f"is in a mount namespace of its own, in which {path.rsplit('/', 3)[0]} has no master" in " ".join(
            out.split()
        )
        assert "goes when that is removed (rmdir)" in out


def test_nothing_is_mounted_there(home: Home) -> None:
    home.layer(mounted=False)
    status, told = document(home)
    assert (status, told["answer"], told["reached"], told["left"]) == (2, "not-mounted", [], [])
    with pytest.raises(OSError, match="Invalid argument"):
        home.umount(MERGED)
    out = cli(home, os.fsdecode(MERGED))[1]
    assert out.startswith(f"umount of {os.fsdecode(MERGED)} would fail: nothing is mounted there; it lies on")


def test_a_relative_path_is_taken_from_where_we_are(home: Home) -> None:
    home.layer()
    told = home.run(lambda: (os.chdir(ROOT + b"/X"), umount(b"./merged/", lazy=False))[1])
    assert (told.path, told.answer) == (MERGED, "ok")


def test_in_another_namespace_a_relative_path_is_none(home: Home) -> None:
    with hold(home.sandbox, propagation="slave") as other:
        status, out, err = cli(home, "mnt", "--namespace", str(other.pid))
        assert (status, out) == (2, "")
        assert err.startswith("mountwarden: mnt is not absolute\nhint: ")


def test_without_root(home: Home) -> None:
    home.layer()

    def run() -> tuple[int, str]:
        with redirect_stdout(io.StringIO()):  # loads all that it needs: nobody else can read what is below root's home
            command_line.main(["predict", "umount", "/mnt"])
        os.setresuid(65534, 65534, 65534)
        err = io.StringIO()
        with redirect_stderr(err):
            return command_line.main(["predict", "umount", "/mnt"]), err.getvalue()

    assert home.run(run) == (2, "mountwarden: mountwarden predict needs root\nhint: run it as root\n")


def test_a_symbolic_link_is_followed(home: Home) -> None:
    home.layer()
    home.run(lambda: os.symlink(MERGED, ROOT + b"/link"))
    assert predicted(home, ROOT + b"/link").path == MERGED


def test_a_path_that_is_not_there_is_an_error(home: Home) -> None:
    home.layer()
    status, out, err = cli(home, os.fsdecode(ROOT + b"/none"))
    assert (status, out) == (2, "")
    assert err.startswith(f"mountwarden: {os.fsdecode(ROOT)}/none is not there\nhint: --namespace PID")


def test_in_another_namespace_a_locked_copy_can_t_be_unmounted(home: Home) -> None:
    home.layer()
    with hold(home.sandbox, propagation=None, userns=True) as container:
        status, out, err = cli(home, os.fsdecode(MERGED), "--namespace", str(container.pid))
        assert (status, out) == (2, "")
        assert "is locked" in err
        with pytest.raises(OSError, match="Invalid argument") as refused:
            container.run(syscalls.umount, MERGED, 0)
        assert refused.value.errno == errno.EINVAL
        assert ids(document(home)[1]["reached"]) == [place(container)]


def test_in_another_namespace_its_own_mount_can_be(home: Home) -> None:
    home.layer()
    with hold(home.sandbox, propagation="private") as other:
        told = home.run(lambda: umount(MERGED, lazy=False, pid=other.pid))
        assert (told.answer, [one.place.namespace for one in told.left]) == ("ok", [home.sandbox.inode])
        other.run(syscalls.umount, MERGED, 0)
        assert not other.is_mounted(MERGED)


def test_a_namespace_without_a_process_is_told_too(home: Home) -> None:
    home.layer()
    with hold(home.sandbox, propagation="private") as gone:
        inode = gone.inode
        fd = os.open(f"/proc/{gone.pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    try:
        assert [one.place.namespace for one in predicted(home).left] == [inode]
    finally:
        os.close(fd)


def test_a_process_that_is_not_there(home: Home) -> None:
    status, _out, err = cli(home, "/mnt", "--namespace", "2147483646")
    assert (status, err) == (2, "mountwarden: there is no process 2147483646\nhint: ps lists them\n")


def test_no_bad_process_id_is_taken(home: Home) -> None:
    status, _out, err = cli(home, "/mnt", "--namespace", "0")
    assert status == 2
    assert "is not a process id" in err


def test_the_top_of_a_stack_is_what_goes(home: Home) -> None:
    home.layer()
    home.run(lambda: syscalls.mount(b"over", MERGED, b"tmpfs"))
    told = predicted(home)
    assert told.mount is not None
    assert (told.answer, told.mount.fstype) == ("ok", "tmpfs")
    home.umount(MERGED)
    assert predicted(home).mount is not None


def test_a_lazy_umount_of_a_bound_root_takes_home_s_live_layers(home: Home) -> None:
    home.layer()
    home.run(lambda: (os.mkdir(b"/mnt/x"), syscalls.mount(b"/mnt/root", b"/mnt/x", None, abi.MS_BIND | abi.MS_REC)))
    told = predicted(home, b"/mnt/x", lazy=True)
    assert MERGED in [place.mount.point for place in told.reached]
    home.umount(b"/mnt/x", abi.MNT_DETACH)
    assert not home.sandbox.is_mounted(MERGED)


def test_a_bound_socket_makes_it_busy(home: Home) -> None:
    """No descriptor of the process shows the mount that its socket is on."""
    home.layer()

    def ask() -> tuple[str, list[tuple[str, bytes]], int]:
        pid = os.fork()
        if pid == 0:
            syscalls.die_with_parent(signal.SIGKILL)
            with socket.socket(socket.AF_UNIX) as bound:
                bound.bind(MERGED + b"/s")
                os.kill(os.getpid(), signal.SIGSTOP)
        os.waitid(os.P_PID, pid, os.WSTOPPED)
        try:
            told = umount(MERGED, lazy=False)
            with pytest.raises(OSError, match="busy") as refused:
                syscalls.umount(MERGED, 0)
            hows = [(one.how, one.path) for one in told.because if one.holder and one.holder.pid == pid]
            return str(told.answer), hows, refused.value.errno or 0
        finally:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)

    assert home.run(ask) == ("busy", [("socket", MERGED + b"/s")], errno.EBUSY)


def test_a_loop_device_makes_it_busy(home: Home) -> None:
    home.run(lambda: (os.mkdir(b"/mnt/disk"), syscalls.mount(b"disk", b"/mnt/disk", b"tmpfs")))

    def ask() -> tuple[str, list[tuple[str, bytes]], str]:
        with open("/mnt/disk/image", "wb") as file:
            file.truncate(1 << 20)
        made = subprocess.run(["losetup", "--find", "--show", "/mnt/disk/image"], capture_output=True, text=True)
        name = made.stdout.strip()
        try:
            told = umount(b"/mnt/disk", lazy=False)
            with pytest.raises(OSError, match="busy"):
                syscalls.umount(b"/mnt/disk", 0)
            return str(told.answer), [(one.how, one.path) for one in told.because], name
        finally:
            subprocess.run(["losetup", "--detach", name], check=True)

    answer, because, name = home.run(ask)
    assert (answer, because) == ("busy", [(os.path.basename(name), b"/mnt/disk/image")])
    assert home.run(lambda: umount(b"/mnt/disk", lazy=False)).answer == "ok"
    home.umount(b"/mnt/disk")


def test_why_each_copy_stays(home: Home) -> None:
    home.layer()
    other = b"/mnt/other"
    with (
        hold(home.sandbox, propagation="slave") as inside,
        hold(home.sandbox, propagation="private") as severed,
        hold(home.sandbox, propagation="private") as elsewhere,
        hold(home.sandbox, propagation="slave") as covered,
    ):
        inside.run(lambda: (os.mkdir(MERGED + b"/sub"), syscalls.mount(b"x", MERGED + b"/sub", b"tmpfs")))
        elsewhere.run(
            lambda: (os.mkdir(other), syscalls.mount(MERGED, other, None, abi.MS_BIND), syscalls.umount(MERGED, 0))
        )
        covered.run(lambda: syscalls.mount(MERGED, MERGED, None, abi.MS_BIND))
        told = predicted(home)
        whys = {(one.place.namespace, one.place.mount.point): str(one.why) for one in told.left}
        assert whys == {
            (inside.inode, MERGED): "inside",
            (severed.inode, MERGED): "severed",
            (elsewhere.inode, other): "elsewhere",
            (covered.inode, MERGED): "covered",
        }
        home.umount(MERGED)
        assert all(space.is_mounted(MERGED) for space in (inside, severed, covered))
        assert elsewhere.is_mounted(other)
        home.run(lambda: os.rmdir(MERGED))
        assert not any(space.is_mounted(MERGED) for space in (inside, severed, covered))
        assert elsewhere.is_mounted(other)


def test_whether_it_depends_on_what_is_inferred_of_locks(home: Home) -> None:
    """A lock only keeps a mount whose parent stays."""
    home.layer()
    outer, inner = b"/mnt/outer", b"/mnt/outer/inner"
    home.run(lambda: [(os.mkdir(path), syscalls.mount(b"x", path, b"tmpfs")) for path in (outer, inner)])
    home.run(lambda: syscalls.mount(None, outer, None, abi.MS_SHARED))
    with hold(home.sandbox, propagation=None, userns=True) as container:
        assert not document(home)[1]["locks_inferred"]
        container.run(lambda: (os.mkdir(outer + b"/own"), syscalls.mount(b"y", outer + b"/own", b"tmpfs")))
        told = predicted(home, outer, lazy=True)
        assert told.inferred
        assert {one.place.mount.point: str(one.why) for one in told.left} == {outer: "inside", inner: "locked"}
        assert "this depends on which mounts user namespaces lock" in cli(home, "--lazy", os.fsdecode(outer))[1]
        home.umount(outer, abi.MNT_DETACH)
        assert container.is_mounted(outer)
        assert container.is_mounted(inner)
