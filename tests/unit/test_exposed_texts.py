"""Exposures found in texts are those of whole tables, however a text is handed out."""

from collections.abc import Callable, Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mountwarden.model import Gap, Mount, Namespace, Picture, Tier
from mountwarden.mounts.exposure import Relation
from mountwarden.mounts.roots import root_state
from mountwarden.mounts.table import Table, below
from mountwarden.observe import exposed_texts
from mountwarden.observe.exposed_texts import ExposedTexts
from mountwarden.observe.mount_lines import LinesInHand, MountLines, ReadingLimits

from tests.support.exposures import exposures
from tests.unit.pictures import HOME, OTHER, host_root, layer, mount, table
from tests.unit.test_prefilter_blocks import LAYERED, opened

FURTHER = 4026533111
SHM = "/var/lib/docker/containers/c1/mounts/shm"
AT_HOME = table(
    host_root(shared=1),
    layer(20, 1, shared=7),
    layer(21, 1, "Y", "0:41"),
    mount(22, 1, "/var/lib/docker/containers", device="8:3", shared=2),
    mount(23, 22, SHM, device="0:42"),
    mount(24, 1, "/again", device="8:1", root=b"/var"),
)
STATE = root_state(LAYERED, AT_HOME, HOME)
SPACES = {inode: Namespace(inode) for inode in (HOME, OTHER, FURTHER)}
PICTURE = Picture("boot", Tier.MOUNTINFO, (STATE,), SPACES, (), 0)

ROOTS = ("/", "/var", "/var/lib/docker", "/var/lib/docker/overlay2", "/var/lib/docker/overlay2/X", "/X", "/home")
STEPS = ("", "/var", "/lib", "/docker", "/overlay2", "/X", "/Y", "/Z", "/merged", "/a b", "/x//deleted")


def line(one: Mount) -> bytes:
    """As the kernel writes it."""
    groups = ((b"shared", one.shared), (b"master", one.master), (b"propagate_from", one.propagate_from))
    tags = b"".join(b" %s:%d" % (name, group) for name, group in groups if group)
    root, point = (path.replace(b" ", rb"\040") for path in (one.root, one.point))
    head = b"%d %d %s %s %s rw" % (one.id, one.parent, one.device.encode(), root, point)
    return head + tags + b" - %s d rw\n" % one.fstype.encode()


LAYERS = "/var/lib/docker/overlay2"
LIVE = {"8:1": ((f"{LAYERS}/X/merged", "0:40"), (f"{LAYERS}/Y/merged", "0:41")), "8:3": (("/c1/mounts/shm", "0:42"),)}
"""By device: where home has its layers."""


@st.composite
def trees(draw: st.DrawFn, first: int) -> list[Mount]:
    """A namespace's mounts, which may be mounted on each other, hide each other, and be copies of home's."""
    groups = st.sampled_from((0, 0, 1, 2, 3, 4))
    made = [mount(first, first - 1, "/", device=draw(st.sampled_from(("8:1", "0:9"))), master=draw(groups))]
    for number in range(first + 1, first + draw(st.integers(1, 12))):
        on = draw(st.sampled_from(made))
        device = draw(st.sampled_from(("8:1", "8:1", "8:3", "0:40", "0:9")))
        steps = "".join(draw(st.lists(st.sampled_from(STEPS), max_size=3)))
        if on.device in LIVE and draw(st.booleans()):
            path, device = draw(st.sampled_from(LIVE[on.device]))
            steps = "/" + (below(on.root, path.encode()) or b"").decode()
        above = draw(st.sampled_from((on.point.decode(), on.point.decode(), "/home")))
        point = (above.rstrip("/") + steps).rstrip("/") or "/"
        tags = {"shared": draw(groups), "master": draw(groups), "propagate_from": draw(groups)}
        root = draw(st.sampled_from(ROOTS if device.startswith("8:") else ("/",))).encode()
        made.append(mount(number, on.id, point, device=device, root=root, **tags))
    return draw(st.permutations(made))


def found(texts: Iterable[tuple[int, MountLines]]) -> tuple[object, ...]:
    beside = ExposedTexts()
    beside.begin((STATE,), {HOME: AT_HOME})
    for inode, lines in texts:
        beside.take(inode, lines)
    assert not beside.gaps
    return beside.found(PICTURE)


@settings(max_examples=200)
@given(trees(100), trees(200))
def test_texts_give_what_whole_tables_give(one: list[Mount], other: list[Mount]) -> None:
    texts = {OTHER: b"".join(map(line, one)), FURTHER: b"".join(map(line, other))}
    tables = {HOME: AT_HOME, **{inode: Table.from_text(text) for inode, text in texts.items()}}
    whole = exposures(PICTURE, tables)
    assert found((inode, LinesInHand(text)) for inode, text in texts.items()) == whole
    with opened(texts[OTHER], 300, ReadingLimits()) as lines, opened(texts[FURTHER], 200, ReadingLimits()) as more:
        assert found([(OTHER, lines), (FURTHER, more)]) == whole


def test_copies_on_a_bind_of_the_root_are_counted() -> None:
    bind = line(mount(101, 100, "/d", device="8:1", root=b"/var/lib/docker"))
    pairs = ((102, "X", "0:40"), (103, "Y", "0:41"), (104, "Y", "0:40"), (105, "X", "0:40"))
    copies = (line(mount(number, 101, f"/d/overlay2/{name}/merged", device=device)) for number, name, device in pairs)
    (one,) = [each for each in found([(OTHER, LinesInHand(slave() + bind + b"".join(copies)))]) if each.at == b"/d"]
    assert (one.copies, one.mount.id) == (3, 101)


def slave(identity: int = 100) -> bytes:
    return line(mount(identity, 1, "/", device="8:1", master=1))


def test_the_number_of_mounts_is_that_of_all() -> None:
    beside = ExposedTexts()
    beside.begin((STATE,), {HOME: AT_HOME})
    beside.take(OTHER, LinesInHand(slave() + 40 * line(mount(101, 100, "/x"))))
    assert beside.mounts == {HOME: 6, OTHER: 41}


def test_a_namespace_that_is_read_once_more_counts_as_it_is_then() -> None:
    private = line(mount(100, 1, "/", device="8:1"))
    (before,) = found([(OTHER, LinesInHand(private)), (OTHER, LinesInHand(slave()))])[1:]
    assert before.relation is Relation.SLAVE


@pytest.mark.parametrize(
    "made",
    [
        pytest.param(lambda number: mount(number, 100, f"/m{number}", device="8:1"), id="mounts of the file system"),
        pytest.param(lambda number: mount(number, number - 1, "/"), id="mounts on the way"),
    ],
)
def test_who_owns_a_namespace_does_not_decide_what_is_kept(
    monkeypatch: pytest.MonkeyPatch, made: Callable[[int], Mount]
) -> None:
    monkeypatch.setattr(exposed_texts, "MOST", 20)
    beside = ExposedTexts()
    beside.begin((STATE,), {})
    beside.take(OTHER, LinesInHand(slave() + b"".join(line(made(number)) for number in range(101, 130))))
    assert beside.gaps == [Gap("the mounts of a namespace", exposed_texts.TOO_MANY, OTHER)]
    assert beside.found(PICTURE) == ()
