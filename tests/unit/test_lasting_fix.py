"""What ends each cause for good, in full."""

from dataclasses import replace

import pytest
from mountwarden.explain.context import Context
from mountwarden.explain.lasting_fix import Fix, lasting_fix
from mountwarden.model import MS_PRIVATE, Finding, Holder, Root, RootKind

from tests.unit.test_cause import (
    ALL_PRIVATE,
    FLAGS,
    HOME,
    LAYOUT,
    ONLY_ROOT_PRIVATE,
    OVERLAY,
    PRIVATE_BIND,
    PRIVATE_HOME,
    TMP,
    container,
    explain,
    finding,
    unit,
)


def fix(found: Finding, around: Context) -> Fix | None:
    answer = explain(found, around)
    assert answer
    return lasting_fix(answer, found, around)


def fix_text(found: Finding, around: Context) -> str:
    answer = fix(found, around)
    assert answer
    return answer.text


def test_fix_of_mount_flags() -> None:
    assert fix(finding(home=HOME), Context(ALL_PRIVATE, unit(FLAGS, flags=MS_PRIVATE))) == Fix(
        "Let umounts reach leaky.service: it keeps a mount namespace of its own, as a slave of the host's.",
        file="/etc/systemd/system/leaky.service.d/90-propagation.conf",
        content="[Service]\nMountFlags=slave\n",
        commands=("systemctl daemon-reload", "systemctl restart leaky.service"),
    )
    transient = Context(ALL_PRIVATE, unit(FLAGS, flags=MS_PRIVATE, transient=True))
    assert fix_text(finding(home=HOME), transient) == (
        "Start leaky.service again without MountFlags=private; with MountFlags=slave umounts reach it."
    )


def test_fix_of_a_unit_whose_name_a_shell_would_read() -> None:
    found = finding(home=HOME, holder=Holder(42, "sleep", "a b$(x).service"))
    assert fix(found, Context(ALL_PRIVATE, unit(FLAGS, flags=MS_PRIVATE))) is None


def test_fix_of_a_bind() -> None:
    assert fix_text(container(), Context(PRIVATE_BIND)) == (
        "Create the container again with -v /:/host:rslave (in Kubernetes, mountPropagation: HostToContainer below the "
        "container's volumeMounts)."
    )
    readonly = (PRIVATE_BIND[0], replace(PRIVATE_BIND[1], options=b"ro,relatime"), OVERLAY)
    assert "-v /:/host:ro,rslave " in fix_text(container(), Context(readonly))


def test_fix_of_a_private_root() -> None:
    assert fix_text(finding(home=PRIVATE_HOME), Context(ONLY_ROOT_PRIVATE, unit(TMP))) == (
        "Keep /var/lib/docker shared (remedy: share), and restart what started before that."
    )


def test_fix_of_a_unit_with_an_escaped_name_can_be_pasted() -> None:
    found = finding(home=HOME, holder=Holder(42, "sleep", r"a\x2db.service"))
    answer = fix(found, Context(ALL_PRIVATE, unit(FLAGS, flags=MS_PRIVATE)))
    assert answer
    assert answer.commands[-1] == r"systemctl restart 'a\x2db.service'"


@pytest.mark.parametrize(
    ("changes", "file"),
    [
        ({}, "/etc/containers/storage.conf"),
        ({"record": ()}, None),
        ({"path": b'/srv/a"b'}, None),
        ({"record": ("/run/a b/overlay-layers/mountpoints.json",)}, None),
    ],
)
def test_fix_of_an_engine_s_own_private_root(changes: dict[str, object], file: str | None) -> None:
    record = ("/run/containers/storage/overlay-layers/mountpoints.json", "/x/layers.json")
    root = Root(b"/var/lib/containers/storage", "containers-storage", RootKind.GRAPH, (LAYOUT,), None, record=record)
    found = finding(home=PRIVATE_HOME, root=replace(root, wants_private=True, **changes))  # type: ignore[arg-type]
    answer = fix(found, Context(ONLY_ROOT_PRIVATE, unit(TMP)))
    assert answer
    assert answer.content
    skip = '[storage.options.overlay]\nskip_mount_home = "true"\n'
    store = '[storage]\ndriver = "overlay"\nrunroot = "{}"\ngraphroot = "{}"\n\n'
    whole = store.format("/run/containers/storage", "/var/lib/containers/storage") + skip
    assert (answer.file, answer.content) == (file, whole if file else skip)
    assert str(answer) == "\n".join([answer.text, *([f"{file}:"] if file else []), answer.content.rstrip()])


def test_no_fix_of_what_is_not_known() -> None:
    assert fix(finding(home=HOME), Context()) is None
