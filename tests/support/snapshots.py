"""A snapshot made by hand, with something of everything in it."""

import dataclasses

from mountwarden import judge as rules
from mountwarden.config.schema import Mode, PolicyEntry, RootEntry
from mountwarden.explain import context
from mountwarden.model import (
    Action,
    Answers,
    Copy,
    Directive,
    Door,
    Gap,
    Holder,
    Kind,
    Namespace,
    NamespaceKind,
    PeerGroupQuestion,
    Picture,
    Policy,
    RecordQuestion,
    RecordState,
    Stack,
    Tier,
    UnitFacts,
    UnitFile,
)
from mountwarden.mounts.propagation import Behaviour
from mountwarden.mounts.roots import Spots, root_state
from mountwarden.predict.occupants import Occupant
from mountwarden.snapshot.contents import SavedHistory, SavedMembers, SavedMounts, Snapshot
from mountwarden.systemd.unit_syntax import parse

from tests.unit.pictures import HOME, OTHER, ROOT, host_root, layer, mount
from tests.unit.pictures import table as mounts

CONTAINER = "0123456789abcdef" * 4


def made() -> Snapshot:
    """A leak by history and a live layer that is cut off, in a container, with everything around them."""
    state = root_state(ROOT, mounts(host_root(), layer(20, 1, "Y", device="0:41")), HOME)
    gone, live = layer(70, 50), layer(71, 50, "Y", device="0:41")
    parent = mount(50, 0, "/", device="8:1", fstype="ext4", source=b"//server/private")
    spots = Spots((state,))
    spot = dataclasses.replace(next(iter(state.live)), path=b"/var/lib/docker/overlay2/X/merged")
    match = spots.match(spot)
    assert match is not None
    copies = (
        Copy(OTHER, gone, parent, spot, match, history=match),
        Copy(OTHER, live, parent, next(iter(state.live)), spots.match(next(iter(state.live)))),
    )
    picture = Picture(
        boot_id="boot",
        tier=Tier.MOUNTINFO,
        roots=(state,),
        namespaces={OTHER: Namespace(OTHER, (7, 8)), 5: Namespace(5, door=Door("bind", 0, b"/run/secret-name/ns"))},
        copies=copies,
        mounts=9,
        home_identities=frozenset(((live.device, live.root),)),
        stacks=(Stack(OTHER, match, gone, 4),),
    )
    place = b"/etc/systemd/system/acme.service"
    unit = UnitFacts("acme.service", fragment=place, directives=(Directive("PrivateTmp", "yes"),))
    text = b"[Service]\nEnvironment=TOKEN=hunter2\nPrivateTmp=yes\nExecStart=/opt/acme --password=hunter2\n"
    file = UnitFile(place, parse(text))
    answers = Answers(records={RecordQuestion(match): RecordState.UNMOUNTED}, masters={PeerGroupQuestion(3): None})
    leak = next(found.id for found in rules.judge(picture, answers).findings if found.kind is Kind.LEAKED)
    holder = Holder(7, "acmed", f"docker-{CONTAINER}.scope", CONTAINER, 1000)
    return Snapshot(
        version="0.1.0",
        anonymous=False,
        hostname="acme-host",
        kernel="6.18",
        taken=1.5e9,
        seconds=0.25,
        mode=Mode.ACT,
        paused=False,
        policies=(PolicyEntry(Action.DETACH, Policy.ASK, unit="acme.service"),),
        entries=(RootEntry(b"/srv/acme/layers"),),
        picture=picture,
        answers=answers,
        gaps=(Gap("the settings of acme.service", "PID 1 answered: no acme", 5),),
        members={OTHER: SavedMembers(NamespaceKind.CONTAINER, (holder,))},
        users={9: Holder(9, "acmed")},
        told={leak: SavedHistory(True, False, 1.5e9)},
        survey=_survey(),
        circumstances={leak: context.Context((parent,), unit, (file,), "rslave", host_root())},
    )


def _survey() -> SavedMounts:
    """Home shares /mnt and what is on it; one namespace is a slave, another is cut off; a process is in the slave."""
    root, mnt = {"device": "8:1", "fstype": "ext4"}, {"device": "0:60"}
    tables = {
        HOME: (
            mount(1, 0, "/", shared=1, **root),
            mount(2, 1, "/mnt", shared=2, **mnt),
            mount(3, 2, "/mnt/a", device="0:61", shared=3),
            mount(4, 3, "/mnt/a", device="0:62"),
        ),
        OTHER: (
            mount(11, 10, "/", master=1, **root),
            mount(12, 11, "/mnt", master=2, **mnt),
            mount(13, 12, "/mnt/a", device="0:61", master=3),
        ),
        5: (mount(21, 20, "/", **root), mount(22, 21, "/mnt", **mnt)),
    }
    return SavedMounts(
        own=HOME,
        tables=tables,
        owners={HOME: 7, OTHER: 7, 5: 8},
        pids={HOME: (1,), OTHER: (7, 8)},
        doors={5: Door("bind", 0, b"/run/secret-name/ns")},
        behaviour=Behaviour.KEEPS,
        occupants=(Occupant("fd 3", 13, Holder(7, "acmed")), Occupant("loop0", 2, path=b"/mnt/acme.image")),
        spaces={OTHER: SavedMembers(NamespaceKind.CONTAINER, (Holder(7, "acmed"),))},
        gaps=(Gap("the mounts of a namespace", "EACCES", 9),),
    )
