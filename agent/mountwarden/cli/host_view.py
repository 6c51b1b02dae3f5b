"""Every command sees the host as PID 1 does, whichever mount namespace it was started in; or it says that it can't.

What options and arguments name is looked up as follows: --config, --from and the FILE of snapshot where the command was
started; the PATH of who and predict on the host.
"""

import os
import sys
from argparse import Namespace
from typing import TYPE_CHECKING

from ..errors import MountwardenError

if TYPE_CHECKING:
    from ..model import Gap

_NOT_OF_THE_HOST = frozenset(("agent", "config", "demo", "graphdriver", "layer"))
"""The agent refuses to run in any other namespace; the others need nothing of the host."""
_ACTS = frozenset(("detach", "pause", "rejoin", "resume", "share", "silence", "unmount"))
"""What they did would be done elsewhere than on the host."""
_WITH_GAPS = frozenset(("doctor", "explain", "map", "predict", "report", "who"))
"""They show the gap themselves."""

_gaps: list["Gap"] = []


def gaps() -> tuple["Gap", ...]:
    """Why this command does not see the host; empty where it does."""
    return tuple(_gaps)


def enter(command: str, arguments: Namespace) -> None:
    """See the host from here on. Without root nothing changes: the service's report is shown, which is the host's.

    Raises: MountwardenError where a command that acts can't.
    """
    _gaps.clear()
    elsewhere = any(getattr(arguments, name, None) is not None for name in ("snapshot", "host"))
    if command in _NOT_OF_THE_HOST or elsewhere or os.geteuid() != 0:
        return
    if why := _entered(arguments) or _of_a_container():
        _can_not(command, why)


def _entered(arguments: Namespace) -> str | None:
    """None where we are in PID 1's mount namespace, now at the latest; else why not."""
    if _is_pid1s():
        return None
    from ..observe import host_view

    asked = _prepared(arguments)
    before = host_view.file_of(asked) if asked else None
    try:
        host_view.enter(_load_all)
    except OSError as error:
        return f"this mount namespace is not PID 1's, which may not be entered: {error.strerror}"
    if asked and before and host_view.file_of(asked) != before:
        _say_whose(asked, before[0])
    return None


def _is_pid1s() -> bool:
    try:
        return os.readlink("/proc/1/ns/mnt") == os.readlink("/proc/self/ns/mnt")
    except OSError:  # even root may not be allowed to read it
        from ..observe import enter, namespaces

        try:
            return namespaces.of_pid1() == enter.own_namespace()
        except OSError:
            return False


def _of_a_container() -> str | None:
    from ..observe import host_view

    if host_view.is_of_the_host():
        return None
    return (
        f"PID 1 here is a container's own ({host_view.pid1() or 'unknown'}), so the host's processes are out of sight"
    )


def _can_not(command: str, why: str) -> None:
    from ..escape import sentence
    from ..model import Gap
    from ..report.build import HOST

    if command in _ACTS:
        hint = "run it on the host, or in a container with the host's processes: docker run --privileged --pid=host"
        raise MountwardenError(f"{command} would not reach the host: {sentence(why)}", hint=hint)
    _gaps.append(Gap(HOST, why))
    if command not in _WITH_GAPS:
        print(f"mountwarden: could not read {HOST}: {sentence(why)}", file=sys.stderr, flush=True)


def _prepared(arguments: Namespace) -> str | None:
    """Look up what is the caller's, while its namespace is still ours. Returns the path that will be the host's."""
    from . import configuration

    if hasattr(arguments, "config") and configuration.is_named(arguments):
        configuration.errors(arguments)
    if hasattr(arguments, "file") and arguments.file != "-":
        _keep_directory(arguments)
    if hasattr(arguments, "what"):
        arguments.what = os.path.abspath(arguments.what) if os.path.lexists(arguments.what) else arguments.what
        return arguments.what if arguments.what.startswith("/") else None
    if hasattr(arguments, "path") and arguments.namespace is None:
        arguments.path = os.path.abspath(arguments.path)
        return os.fsdecode(arguments.path)
    return None


def _keep_directory(arguments: Namespace) -> None:
    """The file is written by a descriptor of its directory. Raises: OSError."""
    arguments.file_name = arguments.file
    directory, name = os.path.split(arguments.file)
    fd = os.open(directory or ".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    arguments.file = f"/proc/self/fd/{fd}/{name}"


def _load_all() -> None:
    """Load all that commands import later. Our tree may be gone then: a mount namespace ends with its last process."""
    import codecs
    import contextlib
    import difflib  # noqa: F401
    import importlib
    import pkgutil

    from .. import __path__ as ours
    from ..systemd import units

    for module in pkgutil.walk_packages(ours, "mountwarden.", onerror=lambda _name: None):
        if not module.name.endswith(".__main__"):
            with contextlib.suppress(ImportError):
                importlib.import_module(module.name)
    for codec in ("ascii", "latin-1", "unicode_escape"):
        codecs.lookup(codec)
    for name in ("dbuslib", "journal"):
        with contextlib.suppress(Exception):  # as in systemd.units: it is done without
            units.library(name)


def _say_whose(path: str, device: int) -> None:
    from ..escape import printable

    number = f"{os.major(device)}:{os.minor(device)}"
    print(
        f"mountwarden: {printable(path)} is the host's; in the mount namespace of the caller it is something else, "
        f"on device {number}\nhint: mountwarden who {number}, or mountwarden predict umount --namespace $$ PATH",
        file=sys.stderr,
        flush=True,
    )
