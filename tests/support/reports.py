"""Findings and reports made by hand, for what shows them."""

from collections.abc import Sequence
from typing import Any

from mountwarden.model import (
    Action,
    Cause,
    Evidence,
    Finding,
    Holder,
    Kind,
    Layout,
    Mount,
    NamespaceKind,
    Picture,
    Policy,
    Reach,
    Remedy,
    Root,
    RootKind,
    RootState,
    Severity,
    Spot,
    Tier,
)
from mountwarden.report.build import ReportFacts

from tests.support.findings import of_one_copy

NOW = 1_790_000_000.0
DOCKER = Root(b"/var/lib/docker", "docker", RootKind.GRAPH, (Layout(b"overlay2/*/merged", "overlay"),), None)
LEAKY = Holder(4711, "sleep", unit="leaky.service", user=0)
DETACH = Remedy(Action.DETACH, True, "all gates are open", "mountwarden detach mw-0123456789")


def mount(**changes: Any) -> Mount:
    """Home's "/", shared."""
    values: dict[str, Any] = {
        "id": 20,
        "parent": 1,
        "device": "254:1",
        "root": b"/",
        "point": b"/",
        "options": b"rw",
        "shared": 1,
        "master": 0,
        "propagate_from": 0,
        "unbindable": False,
        "fstype": "ext4",
        "source": b"/dev/vda1",
        "super_options": b"rw",
    }
    return Mount(**{**values, **changes})


def finding(**changes: Any) -> Finding:
    """A confirmed leak of a Docker layer into leaky.service."""
    values: dict[str, Any] = {
        "id": "mw-0123456789",
        "kind": Kind.LEAKED,
        "severity": Severity.WARNING,
        "root": DOCKER,
        "home": 4026531841,
        "spot": Spot("254:1", b"/var/lib/docker/overlay2/a1b2/merged"),
        "layer": b"a1b2",
        "mountpoint": b"/var/lib/docker/overlay2/a1b2/merged",
        "seen_at": b"/var/lib/docker/overlay2/a1b2/merged",
        "namespace": 4026532500,
        "fstype": "overlay",
        "device": "0:41",
        "mount_id": 812,
        "unique_id": 2147483712,
        "evidence": Evidence.HISTORY,
        "reach": Reach.RMDIR,
        "namespace_kind": NamespaceKind.SERVICE,
        "holders": (LEAKY,),
        "cause": Cause(
            "mount-flags",
            "leaky.service has MountFlags=private (/etc/systemd/system/leaky.service:7), which cuts the propagation "
            "of umounts into it.",
        ),
        "remedies": (DETACH,),
        "confirmed": True,
        "since": NOW - 195,
    }
    return of_one_copy({**values, **changes})


def facts(findings: Sequence[Finding], **changes: Any) -> ReportFacts:
    """What a report of one Docker root in an ordinary host tells."""
    picture = Picture(
        boot_id="c0ffee00-0000-4000-8000-000000000000",
        tier=Tier.MOUNTINFO,
        roots=(RootState(DOCKER, 4026531841, mount()),),
        namespaces={},
        copies=(),
        mounts=52655,
    )
    values: dict[str, Any] = {
        "picture": picture,
        "findings": findings,
        "taken": NOW,
        "seconds": 0.0761,
        "mode": "act",
        "paused": False,
        "hostname": "vm1",
        "kernel": "6.18.0",
        "policies": {DOCKER.path: {Action.SHARE: Policy.ASK, Action.DETACH: Policy.AUTO}},
    }
    return ReportFacts(**{**values, **changes})
