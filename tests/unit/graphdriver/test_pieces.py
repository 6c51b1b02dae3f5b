"""The driver's small parts by themselves: ids, counts, locks, texts."""

import threading

import pytest
from mountwarden.graphdriver import idmap, layout, xattrs
from mountwarden.graphdriver.beneath import Escape, normalise
from mountwarden.graphdriver.driver import GraphdriverError
from mountwarden.graphdriver.idmap import IdMap, IdMaps
from mountwarden.graphdriver.locker import Locker
from mountwarden.graphdriver.refcount import RefCounter

TWO = (IdMap(0, 100_000, 1000), IdMap(1000, 500, 1))


def test_ids_both_ways() -> None:
    maps = IdMaps(TWO, ())
    assert maps.host(999, 7) == (100_999, 7)
    assert maps.host(1000, 0) == (500, 0)
    assert maps.container(500, 3) == (1000, 3)
    assert maps.root() == (100_000, 0)
    assert not IdMaps()
    assert IdMaps().root() == (0, 0)


@pytest.mark.parametrize("number", [1001, 4_000_000_000])
def test_an_id_outside_the_maps(number: int) -> None:
    with pytest.raises(GraphdriverError, match=f"uid {number} of the container is not mapped"):
        IdMaps(TWO, ()).host(number, 0)
    with pytest.raises(GraphdriverError, match="gid 0 of the host is not mapped"):
        IdMaps((), TWO).container(0, 0)


def test_maps_as_docker_sends_them() -> None:
    value = [{"container_id": 0, "host_id": 100_000, "size": 65_536}]
    assert idmap.parse(value) == (IdMap(0, 100_000, 65_536),)
    assert idmap.to_json(idmap.parse(value)) == value
    assert idmap.parse(None) == ()


@pytest.mark.parametrize(
    "value",
    [
        [{}],
        [{"container_id": 0, "host_id": 0, "size": 0}],
        [{"container_id": -1, "host_id": 0, "size": 1}],
        ["x"],
        [5],
        [{"container_id": 0, "host_id": 2**32 - 1, "size": 1}],
        [{"container_id": 0, "host_id": "x", "size": 1}],
    ],
)
def test_maps_that_are_wrong(value: list[object]) -> None:
    with pytest.raises(GraphdriverError, match="id map"):
        idmap.parse(value)  # type: ignore[arg-type]


def test_counts_start_from_what_is_mounted() -> None:
    mounted = {b"/a"}
    asked = []
    counter = RefCounter(lambda path: not asked.append(path) and path in mounted)  # type: ignore[func-returns-value]
    assert counter.increment(b"/b") == 1
    assert counter.increment(b"/b") == 2
    assert asked == [b"/b"]
    assert counter.increment(b"/a") == 2
    assert counter.decrement(b"/a") == 1
    assert counter.decrement(b"/a") == 0


def test_a_put_without_a_get_ends_a_mount_of_before() -> None:
    counter = RefCounter(lambda path: path == b"/mounted")
    assert counter.decrement(b"/mounted") == 0
    assert counter.decrement(b"/unmounted") == -1


def test_what_is_forgotten_is_asked_again() -> None:
    mounted = [True]
    counter = RefCounter(lambda path: mounted[0])
    assert counter.increment(b"/a") == 2
    counter.forget(b"/a")
    mounted[0] = False
    assert counter.increment(b"/a") == 1
    counter.forget()
    assert counter.decrement(b"/a") == -1


def test_counting_from_many_threads() -> None:
    counter = RefCounter(lambda path: False)
    threads = [threading.Thread(target=lambda: [counter.increment(b"/a") for _ in range(1000)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counter.increment(b"/a") == 4001


def test_a_lock_is_for_its_name_and_goes_with_its_last_user() -> None:
    locker = Locker()
    order = []
    inside, leave = threading.Event(), threading.Event()

    def hold(name: str, wait: bool) -> None:
        with locker.hold(name):
            order.append(name)
            if wait:
                inside.set()
                leave.wait(5)

    first = threading.Thread(target=hold, args=("a", True))
    first.start()
    inside.wait(5)
    second = threading.Thread(target=hold, args=("a", False))
    second.start()
    hold("b", False)
    assert order == ["a", "b"]
    leave.set()
    first.join()
    second.join()
    assert order == ["a", "b", "a"]
    assert len(locker) == 0


def test_a_lock_goes_when_its_holder_fails() -> None:
    locker = Locker()
    with pytest.raises(KeyError), locker.hold("a"):
        raise KeyError
    with locker.hold("a"):
        assert len(locker) == 1


def test_mount_options_are_escaped() -> None:
    assert layout.escaped(b"/a:b,c\\d") == b"/a\\:b\\,c\\\\d"
    assert layout.with_label(b"x=y", "") == b"x=y"
    assert layout.with_label(b"x=y", "u:r:t:s0:c1,c2") == b'x=y,context="u:r:t:s0:c1,c2"'


@pytest.mark.parametrize(
    ("name", "path"),
    [(b"./", b""), (b"/", b""), (b"a//b/", b"a/b"), (b"a/./b", b"a/b"), (b"a/../b", b"b"), (b"..a", b"..a")],
)
def test_names_as_paths(name: bytes, path: bytes) -> None:
    assert normalise(name) == path


@pytest.mark.parametrize("name", [b"..", b"a/../..", b"/..", b"a\0b"])
def test_names_that_lead_out(name: bytes) -> None:
    with pytest.raises(Escape):
        normalise(name)


@pytest.mark.parametrize("value", [b"", b"\2", b"\2\0\0\0x", b"\3\0\0\0" + bytes(8)])
def test_acls_and_capabilities_of_another_form_pass_unchanged(value: bytes) -> None:
    maps = IdMaps((IdMap(0, 5, 10),), (IdMap(0, 5, 10),))
    both = {"system.posix_acl_access": value, "security.capability": value, "user.x": value}
    assert xattrs.to_host(both, maps) == both
    assert xattrs.to_layer(both, maps) == both


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("user.a", True),
        ("security.capability", True),
        ("system.posix_acl_default", True),
        ("trusted.overlay.opaque", False),
        ("security.selinux", False),
        ("trusted.x", False),
        ("system.nfs4_acl", False),
    ],
)
def test_which_attributes_travel(name: str, answer: bool) -> None:
    assert xattrs.travels(name) is answer
