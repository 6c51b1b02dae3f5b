"""Whose an entry is, by the fields that journald adds."""

import pytest
from mountwarden.systemd import journal_origin

from tests.support.journal_entries import FROM_SERVICE, FROM_SESSION

ID = "1d2b1105f89498194a7d7888b5ec9fef2f434f319caa31cb4e9bc5003da91fec"


def sent_from(path: str, unit: str, **more: str) -> dict[str, str]:
    return {**FROM_SESSION, "_SYSTEMD_CGROUP": path, "_SYSTEMD_UNIT": unit, **more}


@pytest.mark.parametrize(
    ("path", "unit"),
    [
        ("/user.slice/user-0.slice/session-c12.scope", "session-c12.scope"),
        ("/system.slice/cron.service", "cron.service"),
        ("/system.slice/ssh.service", "ssh.service"),
        (r"/system.slice/system-getty.slice/getty@tty1.service", "getty@tty1.service"),
        ("/system.slice/run-u2.service", "run-u2.service"),
        ("/system.slice/run-r0cd3c02016d9409ab3803cfea217e2f3.scope", "run-r0cd3c02016d9409ab3803cfea217e2f3.scope"),
    ],
)
def test_a_command_of_root_s_in_a_session_or_a_unit_of_the_host_is_ours(path: str, unit: str) -> None:
    fields = sent_from(path, unit)
    assert journal_origin.ours(fields)
    assert not journal_origin.from_service(fields)


@pytest.mark.parametrize(
    ("path", "unit"),
    [
        (f"/system.slice/docker-{ID}.scope", f"docker-{ID}.scope"),
        (f"/system.slice/docker-{ID}.scope/system.slice/mountwarden.service", f"docker-{ID}.scope"),
        (f"/system.slice/docker.service/docker/{ID}", "docker.service"),
        (f"/docker/{ID}", ""),
        (f"/machine.slice/libpod-{ID}.scope/container", f"libpod-{ID}.scope"),
        (f"/system.slice/web.service/libpod-payload-{ID}", "web.service"),
        (f"/system.slice/mountwarden.service/{ID}", "mountwarden.service"),
        (f"/kubepods.slice/kubepods-pod1.slice/cri-containerd-{ID}.scope", f"cri-containerd-{ID}.scope"),
        ("/machine.slice/machine-web.scope/payload/system.slice/cron.service", "machine-web.scope"),
        ("/machine.slice/systemd-nspawn@web.service/payload/system.slice/cron.service", "systemd-nspawn@web.service"),
        ("/lxc.payload.web/system.slice/mountwarden.service", ""),
        ("/system.slice/runc-web.scope", "runc-web.scope"),
        ("/user.slice/user-1000.slice/user@1000.service/app.slice/run-u1.scope", "user@1000.service"),
        ("/user.slice/user-1000.slice/user@1000.service", "user@1000.service"),
        ("/user.slice", "user.slice"),
        ("/", ""),
        ("", "mountwarden.service"),  # the sender of a stream that ended: its own word for its unit
        ("/system.slice/cron.service", "mountwarden.service"),
    ],
)
def test_what_a_container_a_machine_or_a_user_s_unit_wrote_is_not_ours(path: str, unit: str) -> None:
    assert not journal_origin.ours(sent_from(path, unit))


@pytest.mark.parametrize(
    "more",
    [{"_UID": "1000"}, {"_CAP_EFFECTIVE": "a80425fb"}, {"_CAP_EFFECTIVE": ""}, {"_CAP_EFFECTIVE": "x"}],
)
def test_nor_what_could_not_have_acted(more: dict[str, str]) -> None:
    assert not journal_origin.ours({**FROM_SESSION, **more})


def test_the_service_s_own_are_those_from_its_unit_in_whichever_slice() -> None:
    assert journal_origin.from_service(FROM_SERVICE)
    assert journal_origin.from_service({**FROM_SERVICE, "_SYSTEMD_CGROUP": "/agents.slice/mountwarden.service"})
    assert not journal_origin.from_service({**FROM_SERVICE, "_UID": "1000"})
    assert not journal_origin.from_service({})


def test_who_it_was() -> None:
    def who(**more: str) -> str:
        return journal_origin.who({**FROM_SESSION, **more}, {0: "root", 1000: "alice\x1b"}.get)

    assert who() == "root (uid 0) with mountwarden detach mw-1, in session-3.scope, pid 47 (mountwarden)"
    assert who(_AUDIT_LOGINUID="4294967295") == who()
    assert who(_AUDIT_LOGINUID="1000").startswith(r"alice\x1b (uid 1000) with mountwarden detach mw-1, in session-3")
    assert who(_AUDIT_LOGINUID="7", _CMDLINE="", _COMM="a\nb") == r"uid 7, in session-3.scope, pid 47 (a\x0ab)"
    assert "with python3 -m x, in" in who(_CMDLINE="/usr/bin/python3 -m x")
    assert len(who(_CMDLINE="/usr/bin/mountwarden detach " + "mw-1 " * 100)) < 200
