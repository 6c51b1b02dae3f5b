"""The propagation picture: what is in it, folded how, as text (compared with `screens/`), as SVG and as DOT."""

import json
import os
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
from mountwarden.cli import map as command
from mountwarden.explain.members import Members
from mountwarden.model import Copy, Gap, Holder, Kind, NamespaceKind, Picture, Severity, Target, Tier
from mountwarden.mounts.roots import root_state
from mountwarden.output.columns import width
from mountwarden.output.map import dot, fold, svg
from mountwarden.output.map import drawing as text
from mountwarden.output.terminal import Terminal
from mountwarden.report.map import MapFacts, bases, summary
from mountwarden.report.map_types import MapJson

from tests.support import maps
from tests.support.exposures import exposures
from tests.support.reports import finding
from tests.unit.pictures import HOME, OTHER, ROOT, host_root, layer, mount, paths, table

SCREENS = Path(__file__).parent / "screens"
SVG = "{http://www.w3.org/2000/svg}"
THIRD, FOURTH, FIFTH = 4026533111, 4026533222, 4026533333


def seen() -> MapJson:
    """One leak, one that will be, one slave, and one namespace that shows nothing."""
    home = table(host_root(), layer(2, 1), layer(3, 1, "Y", "0:41"))
    state = root_state(ROOT, home, HOME)
    there = mount(11, 10, "/", device="8:1")
    copy, gone = layer(12, 11), layer(13, 11, "Z", "0:42")
    slave = mount(21, 20, "/", device="8:1", master=1)
    spot = table(there, copy).spot(copy)
    copies = (Copy(OTHER, copy, there, spot, state.matches[spot] if spot else None),)
    names = {HOME: "init", OTHER: "sleep", THIRD: "sh", FOURTH: "cat", FIFTH: "tee"}
    picture = Picture("boot", Tier.MOUNTINFO, (state,), dict.fromkeys(names), copies, 8)  # type: ignore[arg-type]
    tables = {HOME: home, OTHER: table(there, copy, gone), THIRD: table(slave)}
    target = Target(next(iter(state.matches.values())), copy, copies, copies)
    two = replace(target, leaked=(*copies, Copy(OTHER, gone, there, None), Copy(FIFTH, gone, there, None)))
    leaks = (
        finding(root=ROOT, namespace=OTHER, target=two, count=3),
        finding(root=ROOT, namespace=OTHER, target=target, confirmed=False, id="mw-0000000001"),
        finding(root=ROOT, namespace=OTHER, target=target, severity=Severity.INFO, id="mw-0000000002"),
        finding(root=ROOT, namespace=OTHER, target=target, kind=Kind.SEVERED, id="mw-0000000003"),
    )
    people = {inode: Members(NamespaceKind.PROCESS, (Holder(9, name),)) for inode, name in names.items()}
    facts = MapFacts(picture, leaks, exposures(picture, tables), people)
    return command.document(facts, (Gap("x", "EACCES"),), 1_790_000_000.0)


def test_the_document_says_what_was_seen() -> None:
    document = seen()
    (base,) = document["bases"]
    assert (base["at"], base["peer_group"], base["propagation"]) == ("/", 1, "shared")
    assert base["roots"][0]["live"] == 2
    leaky, fifth, slave = base["namespaces"]
    assert (leaky["namespace"], leaky["who"], leaky["relation"]) == (OTHER, "process 9 (sleep)", "cut-off")
    assert (leaky["copies"], leaky["leaks"], leaky["leaked"], leaky["unconfirmed"]) == (1, 1, 2, 1)
    assert leaky["findings"] == ["mw-0123456789", "mw-0000000001"], "neither what is suspected nor other kinds"
    assert (fifth["namespace"], fifth["leaked"], fifth["findings"]) == (FIFTH, 1, ["mw-0123456789"])
    assert (slave["relation"], slave["master"], slave["copies"]) == ("slave", 1, 0)
    assert document["summary"] == {
        "roots": 1,
        "namespaces": 5,
        "mounts": 8,
        "without": 1,
        "cut_off": 1,
        "leaks": 1,
        "leaked": 3,
        "unconfirmed": 1,
    }
    assert document["complete"] is False
    assert json.loads(json.dumps(document)) == document


def test_a_copy_that_is_bound_elsewhere_is_in_the_picture() -> None:
    state = root_state(ROOT, table(host_root(), layer(2, 1)), HOME)
    held = Copy(OTHER, layer(12, 11), None, None)
    target = Target(next(iter(state.matches.values())), held.mount, (), (held,))
    leak = finding(root=ROOT, namespace=OTHER, target=target)
    people = {OTHER: Members(NamespaceKind.CONTAINER, (Holder(9, "sh", container="ab" * 32),))}
    picture = Picture("boot", Tier.MOUNTINFO, (state,), {}, (), 0)
    (base,) = bases(MapFacts(picture, (leak,), (), people))
    (row,) = base["namespaces"]
    assert (row["who"], row["relation"], row["at"], row["leaked"]) == ("container abababababab", "elsewhere", None, 1)
    assert fold.lines(base)[0].what == "bound elsewhere: 1 leaked"


def test_a_second_view_in_home_is_a_row_of_its_own() -> None:
    view = mount(5, 1, "/srv/chroot", device="8:1")
    other = mount(7, 1, "/mnt/again", device="8:1", shared=1)
    home = table(host_root(), layer(2, 1), view, layer(6, 5, point=b"/srv/chroot" + layer(2, 1).point), other)
    state = root_state(ROOT, home, HOME)
    picture = Picture("boot", Tier.MOUNTINFO, (state,), {HOME: None}, (), 0)  # type: ignore[dict-item]
    people = {HOME: Members(NamespaceKind.PROCESS, (Holder(1, "systemd"),))}
    facts = MapFacts(picture, (), exposures(picture, {HOME: home}), people)
    (base,) = bases(facts)
    row, peer = base["namespaces"]
    assert (row["kind"], row["who"], row["leaks"]) == ("home", "/srv/chroot on the host itself", 1)
    assert (peer["who"], peer["relation"]) == ("/mnt/again on the host itself", "peer")
    assert summary(facts, [base])["cut_off"] == 0


def test_what_is_healthy_is_folded_with_counts() -> None:
    rows = [maps.row(n, kind=kind) for n, kind in enumerate(["service"] * 3 + ["container"] * 2 + ["process"] * 2)]
    (line,) = fold.lines(maps.base(*rows))
    assert (line.level, line.folded, line.who) == ("healthy", True, "3 services, 2 containers, 2 processes")
    assert line.what == "slaves: 14 copies within reach"
    assert line.names.startswith("worker-0.service, worker-1.service")
    assert len(fold.lines(maps.base(*rows), everything=True)) == 7


def test_who_is_cut_off_where_nothing_is_mounted_is_counted() -> None:
    rows = [maps.cut(n, f"bad-{n}.service", copies=0) for n in range(2)]
    assert [line.who for line in fold.lines(maps.base(*rows))] == ["bad-0.service", "bad-1.service"]
    empty = maps.base(*rows)
    for root in empty["roots"]:
        root["live"] = 0
    assert [(line.who, line.what) for line in fold.lines(empty)] == [("2 services", "cut off: hold nothing now")]


def test_the_worst_are_shown_and_the_rest_is_counted() -> None:
    rows = [maps.cut(n, f"bad-{n}.service", leaks=2, copies=2) for n in range(fold.MOST + 2)]
    told = fold.lines(maps.base(*rows))
    assert [line.who for line in told[-2:]] == [f"bad-{fold.MOST - 1}.service", "and 2 more"]
    assert told[-1].what == "4 will leak"
    one_more = fold.lines(maps.base(*rows[:-1]))
    assert [line.folded for line in one_more] == [False] * (fold.MOST + 1), "one is told by its name"


@pytest.mark.parametrize(
    ("changes", "level", "what"),
    [
        ({}, "healthy", "slave of peer group 1: 2 copies within reach"),
        ({"master": None, "copies": 1}, "healthy", "slave further down: 1 copy within reach"),
        ({"relation": "peer", "copies": 0}, "healthy", "peer: no copy now"),
        ({"relation": "cut-off", "copies": 0}, "cut-off", "cut off: holds nothing now"),
        ({"relation": "cut-off", "leaks": 2}, "leaks", "cut off: 2 will leak"),
        ({"relation": "cut-off", "on_purpose": 2}, "cut-off", "cut off: 2 kept on purpose"),
        (
            {"relation": "cut-off", "leaks": 1, "leaked": 3},
            "leaked",
            "cut off: 3 leaked, 1 will leak, 1 copy within reach",
        ),
        ({"unconfirmed": 1, "copies": 0}, "leaked", "slave of peer group 1: 1 not confirmed"),
    ],
)
def test_a_line_says_how_it_is_reached_and_what_it_holds(changes: dict[str, object], level: str, what: str) -> None:
    (line,) = fold.lines(maps.base(maps.row(1, **changes)))
    assert (line.level, line.what) == (level, what)


@pytest.mark.parametrize("columns", [40, 80])
@pytest.mark.parametrize("name", maps.CHARTS)
def test_screen(name: str, columns: int) -> None:
    screen = text.render(maps.CHARTS[name](), Terminal(columns))
    path = SCREENS / f"map-{name}-{columns}.txt"
    if os.environ.get("MOUNTWARDEN_SCREENS") == "write":
        path.write_text(screen)
    assert screen == path.read_text()
    assert max(map(width, screen.splitlines())) <= columns
    assert len(screen.splitlines()) <= 80 * 80 // columns, "readable, however many namespaces there are"


def test_a_terminal_without_our_signs_gets_others() -> None:
    screen = text.render(maps.small(), Terminal(80, ascii=True, colour=True))
    assert screen.isascii()
    assert "\x1b[1;31mphp-fpm.service" in screen


def test_a_headline_says_the_worst() -> None:
    assert fold.headline(maps.healthy()) == ("healthy", "every umount reaches every copy on vm1")
    assert fold.headline(maps.small())[0] == "leaked"
    leaks = maps.chart(maps.base(maps.cut(1, "x", leaks=1)))
    assert fold.headline(leaks) == ("leaks", "1 will leak on vm1")
    assert fold.headline(maps.chart(maps.base(maps.cut(1, "x"))))[0] == "cut-off"
    assert fold.headline(maps.chart())[1] == "no root was seen on vm1"


@pytest.mark.parametrize("name", maps.CHARTS)
def test_svg_is_a_document_of_known_elements_alone(name: str) -> None:
    document = maps.CHARTS[name]()
    root = ElementTree.fromstring(svg.render(document))
    kinds = {element.tag.removeprefix(SVG) for element in root.iter()}
    assert kinds <= {"svg", "title", "desc", "style", "rect", "text", "path", "g"}
    for element in root.iter():
        assert not {key for key in element.attrib if key.startswith("on") or "href" in key}
    texts = [element.text or "" for element in root.iter(f"{SVG}text")]
    assert fold.headline(document)[1] in " ".join(texts)
    assert all(line.what in texts for base in document["bases"] for line in fold.lines(base))


@pytest.mark.parametrize("name", maps.CHARTS)
def test_svg_draws_nothing_beyond_its_page(name: str) -> None:
    root = ElementTree.fromstring(svg.render(maps.CHARTS[name]()))
    wide, high = float(root.attrib["width"]), float(root.attrib["height"])
    for box in root.iter(f"{SVG}rect"):
        x, y = float(box.get("x", 0)), float(box.get("y", 0))
        assert x + float(box.attrib["width"]) <= wide
        assert y + float(box.attrib["height"]) <= high
    for line in root.iter(f"{SVG}text"):
        size = 17 / 12 if "title" in line.get("class", "") else 1
        assert float(line.attrib["x"]) + width(line.text or "") * 7.25 * size <= wide, line.text


def test_panels_do_not_overlap() -> None:
    many = maps.base(maps.row(1))
    many["roots"] *= 9
    root = ElementTree.fromstring(svg.render(maps.chart(many, maps.run_base(maps.row(1)))))
    first, second = (box for box in root.iter(f"{SVG}rect") if box.get("class") == "home")
    assert float(first.attrib["y"]) + float(first.attrib["height"]) < float(second.attrib["y"])
    assert "and 12 more roots" in [text.text for text in root.iter(f"{SVG}text")]


def test_hostile_names_are_text_in_the_svg() -> None:
    root = ElementTree.fromstring(svg.render(maps.hostile()))
    texts = [element.text or "" for element in root.iter(f"{SVG}text")]
    assert any("<script>hacked=1</script>" in line for line in texts)
    assert not list(root.iter(f"{SVG}script"))
    assert not any("\x1b" in line or "\n" in line for line in texts)


def test_right_to_left_names_turn_nothing_else_round() -> None:
    marked = "process 4 (\u2066שלום\u2069 \u2066עולם\u2069)"
    assert marked in [text.text for text in ElementTree.fromstring(svg.render(maps.hostile())).iter(f"{SVG}text")]
    assert marked in text.render(maps.hostile(), Terminal(80, bidi=True))


def test_dot_quotes_what_would_end_a_string() -> None:
    assert dot.quoted('a"b', "c\\") == r'"a\"b\nc\\"'
    drawn = dot.render(maps.hostile())
    outside = re.sub(r'"(?:[^"\\]|\\.)*"', "", drawn)
    assert "evil" not in outside
    assert drawn.count("\n") == drawn.rstrip("\n").count("\n") + 1


def test_dot_has_one_node_for_a_namespace_that_two_mounts_are_shown_in() -> None:
    drawn = dot.render(maps.small())
    assert len(re.findall(r"^  ns4026532001 \[", drawn, re.MULTILINE)) == 1
    assert len(re.findall(r"base\d -> ns4026532001 ", drawn)) == 2
    assert "style=dashed, dir=none" in drawn
    assert "dir=both" in drawn


@pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz is not installed")
@pytest.mark.parametrize("name", maps.CHARTS)
def test_graphviz_accepts_the_dot(name: str) -> None:
    drawn = dot.render(maps.CHARTS[name]())
    done = subprocess.run(["dot", "-Tsvg"], input=drawn, capture_output=True, text=True, check=True, timeout=20)
    assert done.stderr == ""
    texts = " ".join(element.text or "" for element in ElementTree.fromstring(done.stdout).iter(f"{SVG}text"))
    assert fold.headline(maps.CHARTS[name]())[1] in texts


def test_the_documents_fields_are_the_references() -> None:
    reference = (Path(__file__).parents[2] / "docs/reference.md").read_text()
    chapter = reference.split("## The map's JSON\n")[1].split("\n## ")[0]
    named = set(re.findall(r"^\| `([^`]+)` \|", chapter, re.MULTILINE))
    document = seen()
    document["unjudged"] = document["bases"][0]["roots"]
    assert named == set(paths(document))
