"""The documents: what they name is there."""

import dataclasses
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
from mountwarden.cli.main import COMMANDS
from mountwarden.config.schema import Config
from mountwarden.model import Kind
from mountwarden.output import journal_messages
from mountwarden.report import types as shape
from mountwarden.service.answers import interfaces
from mountwarden.varlink import interface

from tests.support.rooms import AGENT, PACKAGE, RANKS

PROJECT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted([*PROJECT.glob("*.md"), *PROJECT.glob("docs/*.md")])
CODE = PROJECT / "docs/code.md"
SOURCES = AGENT / PACKAGE
FOR_DEVELOPERS = (CODE, PROJECT / "CONTRIBUTING.md")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_leads_to_a_file(document: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", document.read_text())
    assert [link for link in links if not (document.parent / link).is_file()] == []


def test_every_test_that_the_threat_model_names_is_there() -> None:
    document = (PROJECT / "docs/threat-model.md").read_text()
    named = re.findall(r"(tests/[\w/]+\.py)(?:::(test_\w+))?", document)
    assert len(named) > 20
    for file, function in named:
        text = (PROJECT / file).read_text()
        assert not function or f"def {function}(" in text, f"{file}::{function}"
    tests = "\n".join(path.read_text() for path in (PROJECT / "tests").rglob("test_*.py"))
    shortened = re.findall(r"`…(?:::)?(\w+)`", document) + re.findall(r"`(test_\w+)`", document)
    assert len(shortened) > 5
    assert [name for name in shortened if not re.search(rf"def (?:test_\w+)?{name}\(", tests)] == []


def test_every_row_of_the_threat_model_names_a_test() -> None:
    """But where nothing can be shown: the cell is empty, and the row says for how long something goes unseen."""
    rows = re.findall(r"^\|(?! *-)(.*)\|$", (PROJECT / "docs/threat-model.md").read_text(), re.MULTILINE)
    cells = [[cell.strip() for cell in re.split(r" \| ", row)] for row in rows]
    attacks = [row for row in cells if len(row) == 3 and row[-1] != "test"]
    assert len(attacks) > 40
    assert [row[0] for row in attacks if "test_" not in row[-1]] == []


def test_the_unit_has_what_the_threat_model_says_of_it() -> None:
    lines = (PROJECT / "units/mountwarden.service").read_text().splitlines()
    (allowed,) = (line.partition("=")[2].split() for line in lines if line.startswith("CapabilityBoundingSet="))
    assert len(allowed) == 8
    assert {"NoNewPrivileges=yes", "RestrictAddressFamilies=AF_UNIX", "IPAddressDeny=any"} <= set(lines)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_command_shown_is_one(document: Path) -> None:
    shown = re.findall(r"(?:`|^\$ |^ {4})mountwarden ([a-z]+)", document.read_text(), re.MULTILINE)
    assert [word for word in shown if word not in COMMANDS] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_screen_is_a_generated_one(document: Path) -> None:
    """What stands below `$ mountwarden` was printed by it: see packaging/screens.py and tests/support/screens.py."""
    text = document.read_text()
    blocks = [match.start() for match in re.finditer(r"^```\n\$ ", text, re.MULTILINE)]
    marked = [match.end() for match in re.finditer(r"<!-- screen: [a-z-]+ -->\n", text)]
    assert [text[at : at + 60] for at in blocks if at not in marked] == []


def test_the_reference_has_every_key_and_every_message() -> None:
    text = (PROJECT / "docs/reference.md").read_text()
    keys = {field.name for field in dataclasses.fields(Config)} - {"origin", "roots", "policies", "silences", "confirm"}
    assert [key for key in sorted(keys) if f"| `{key}` |" not in text] == []
    confirm = {field.name for field in dataclasses.fields(Config().confirm)}
    assert [key for key in sorted(confirm) if f"`{key}`" not in text] == []
    assert [kind for kind, identity in journal_messages.IDS.items() if f"| {kind} | `{identity}` |" not in text] == []


def test_the_reference_has_every_method_parameter_and_error_of_varlink() -> None:
    text = (PROJECT / "docs/reference.md").read_text().split("\n## ")
    chapter = next(one for one in text if one.startswith("Varlink\n"))
    own = interface.read(interfaces.text(interfaces.OWN))
    fields = {name for pair in own.methods.values() for kind in pair for name in kind.fields}
    assert [name for name in sorted({*own.methods, *own.errors, *fields}) if f"`{name}`" not in chapter] == []


PICTURES = sorted(PROJECT.glob("docs/pictures/*.svg"))
SVG = "{http://www.w3.org/2000/svg}"


@pytest.mark.parametrize("picture", PICTURES, ids=lambda path: path.name)
def test_a_picture_is_used_and_holds_its_text(picture: Path) -> None:
    top = ElementTree.parse(picture).getroot()
    assert {element.tag.removeprefix(SVG) for element in top.iter()} <= {
        *("svg", "title", "desc", "style", "defs", "marker", "rect", "text", "path")
    }
    assert top.findtext(f"{SVG}title")
    wide = float(top.attrib["viewBox"].split()[2])
    for text in top.iter(f"{SVG}text"):
        letters = 8.5 if text.get("class") == "path" else 7.8 if text.get("class") == "title" else 7.4
        assert float(text.attrib["x"]) + letters * len(text.text or "") < wide, text.text
    used = [document for document in DOCUMENTS if f"](pictures/{picture.name})" in document.read_text()]
    assert used, "no document shows it"


def test_the_reference_has_every_field_of_explain() -> None:
    text = (PROJECT / "docs/reference.md").read_text()
    chapter = text.partition("## The JSON of explain\n")[2].partition("\n## ")[0]
    types = (
        getattr(shape, f"{name}Json")
        for name in ("Moment", "Level", "Side", "Group", "Chain", "Setting", "Fix", "Background")
    )
    fields = {field for kind in types for field in kind.__annotations__}
    assert [field for field in sorted(fields) if not re.search(rf"[`.]{field}\b", chapter)] == []


def test_every_kind_of_finding_is_explained() -> None:
    text = (PROJECT / "docs/how-it-works.md").read_text()
    assert [kind for kind in Kind if f"| `{kind}` |" not in text] == []


def lines(document: Path) -> list[str]:
    """A document with each paragraph, list item and row of a table on one line."""
    return re.sub(r"\n(?!\n|- |\d+\. |[|#]|```)\s*", " ", document.read_text()).splitlines()


def test_every_room_has_its_paragraph_and_a_file_to_open_first() -> None:
    said = [re.match(r"- \*\*`(\w+)/`\*\* \(rank (\d+)[,)].* Open `\1/\w+\.py`", line) for line in lines(CODE)]
    folders = {room: rank for room, rank in RANKS.items() if room and (SOURCES / room).is_dir()}
    assert {match[1]: int(match[2]) for match in said if match} == folders


@pytest.mark.parametrize("document", FOR_DEVELOPERS, ids=lambda path: path.name)
def test_every_file_named_for_developers_is_there(document: Path) -> None:
    words = re.findall(r"`([\w-][\w./-]*)`", document.read_text())
    named = [one for one in words if re.search(r"^(agent|docs|packaging|tests)/|/$|\.(py|fields)$", one)]
    assert len(named) > 10
    assert [one for one in named if not (PROJECT / one).exists() and not (SOURCES / one).exists()] == []


@pytest.mark.parametrize("document", FOR_DEVELOPERS, ids=lambda path: path.name)
def test_every_function_named_for_developers_is_in_a_file_named_beside_it(document: Path) -> None:
    for line in lines(document):
        files = [place / file for file in re.findall(r"`([\w/]+\.py)`", line) for place in (PROJECT, SOURCES)]
        text = "".join(file.read_text() for file in files if file.is_file())
        assert [name for name in re.findall(r"`(\w+)\(\)`", line) if f"def {name}(" not in text] == [], line
