"""Roots of CRI-O, Incus, LXD, nerdctl and podman's volumes, on trees and processes of their shape."""

import os
from pathlib import Path

import pytest
from mountwarden.engines import containers_storage, crio, incus, nerdctl
from mountwarden.model import RootKind
from mountwarden.observe.processes import Daemon

from tests.unit.engines.trees import CONFIG, daemon, host, of_layout, paths, write


@pytest.fixture(autouse=True)
def _defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads this machine's own engines."""
    monkeypatch.setattr(crio, "DIRECTORY", os.fsencode(tmp_path / "run"))
    monkeypatch.setattr(containers_storage, "CRIO_FILE", os.fsencode(tmp_path / "crio.conf"))
    monkeypatch.setattr(containers_storage, "CRIO_DROP_INS", os.fsencode(tmp_path / "crio.conf.d"))
    monkeypatch.setattr(containers_storage, "CONFIG_FILES", (os.fsencode(tmp_path / "storage.conf"),))
    monkeypatch.setattr(containers_storage, "DROP_INS", ())
    monkeypatch.setattr(nerdctl, "CONFIG_FILE", os.fsencode(tmp_path / "nerdctl.toml"))
    monkeypatch.setattr(nerdctl, "DATA_ROOT", os.fsencode(tmp_path / "nerdctl"))
    usual = {"incusd": ("incus",), "lxd": ("snap/lxd", "lxd")}
    places = {name: tuple(os.fsencode(tmp_path / one) for one in some) for name, some in usual.items()}
    monkeypatch.setattr(incus, "DIRECTORIES", places)


def test_crio_keeps_namespaces_of_four_kinds(tmp_path: Path) -> None:
    kinds = ("ipcns", "netns", "userns", "utsns")
    for name in ("run", "own", "flag"):
        for kind in kinds:
            (tmp_path / name / kind).mkdir(parents=True)
    running = daemon("crio")
    assert paths(crio.roots(host(running), CONFIG)) == [tmp_path / "run" / kind for kind in kinds]
    write(tmp_path / "crio.conf", f'[crio.runtime]\nnamespaces_dir = "{tmp_path}/none"\n')
    assert crio.roots(host(running), CONFIG) == []
    write(tmp_path / "crio.conf.d/10-x.conf", f'[crio.runtime]\nnamespaces_dir = "{tmp_path}/own"\n')
    assert paths(crio.roots(host(running), CONFIG)) == [tmp_path / "own" / kind for kind in kinds]
    flagged = crio.roots(host(daemon("crio", f"--namespaces-dir={tmp_path}/flag")), CONFIG)
    assert paths(flagged) == [tmp_path / "flag" / kind for kind in kinds]
    assert {(root.kind, root.home, root.home_known) for root in flagged} == {(RootKind.NETNS, 1, True)}


def test_where_no_crio_runs_netns_is_not_its_own(tmp_path: Path) -> None:
    for kind in ("ipcns", "netns", "utsns"):
        (tmp_path / "run" / kind).mkdir(parents=True)
    stopped = crio.roots(host(), CONFIG)
    assert paths(stopped) == [tmp_path / "run/ipcns", tmp_path / "run/utsns"]
    assert not any(root.home_known for root in stopped)


@pytest.mark.parametrize(
    ("running", "there", "wanted"),
    [
        ((daemon("incusd"),), ("incus", "lxd"), ["incus", "lxd"]),
        ((daemon("lxd"),), ("snap/lxd", "lxd"), ["snap/lxd"]),
        ((), ("snap/lxd", "incus"), ["incus", "snap/lxd"]),
        ((daemon("incusd"),), (), []),
    ],
)
def test_incus_and_lxd(tmp_path: Path, running: tuple[Daemon, ...], there: tuple[str, ...], wanted: list[str]) -> None:
    for name in there:
        (tmp_path / name).mkdir(parents=True)
    found = incus.roots(host(*running), CONFIG)
    assert paths(found) == [tmp_path / name for name in wanted]
    assert {(root.kind, root.rmdir_on_put) for root in found} <= {(RootKind.VOLUME, False)}
    by_daemon = {name: any(one.comm == {"incus": "incusd"}.get(name, "lxd") for one in running) for name in wanted}
    assert [root.home_known for root in found] == [by_daemon[name] for name in wanted]


def test_incus_is_where_its_database_is_open(tmp_path: Path) -> None:
    file = write(tmp_path / "moved/database/local.db", "")
    with file.open():
        (root,) = incus.roots(host(daemon("incusd", pid=os.getpid())), CONFIG)
    assert paths([root]) == [tmp_path / "moved"]


def test_nerdctl_has_volumes_for_each_socket_and_namespace(tmp_path: Path) -> None:
    assert nerdctl.roots(host(), CONFIG) == []
    (tmp_path / "nerdctl").mkdir()
    (root,) = nerdctl.roots(host(), CONFIG)
    assert (root.path, root.kind, root.rmdir_on_put) == (os.fsencode(tmp_path / "nerdctl"), RootKind.VOLUME, False)
    (tmp_path / "own").mkdir()
    write(tmp_path / "nerdctl.toml", f'data_root = "{tmp_path}/own"\n')
    assert paths(nerdctl.roots(host(), CONFIG)) == [tmp_path / "own"]


def test_podmans_volumes_have_any_namespace_as_home(tmp_path: Path) -> None:
    (tmp_path / "s/volumes").mkdir(parents=True)
    write(tmp_path / "storage.conf", f'[storage]\ndriver = "overlay"\ngraphroot = "{tmp_path}/s"\nrunroot = "/r"\n')
    (root,) = of_layout(containers_storage.roots(host(), CONFIG), containers_storage.VOLUME_LAYOUT)
    assert (root.path, root.kind, root.daemonless) == (os.fsencode(tmp_path / "s/volumes"), RootKind.VOLUME, True)
    assert not root.wants_private
