"""The ledger as JSON text, and back. The text is our own file's; what does not fit makes a new ledger, with the reason.

Bytes stand in it as os.fsdecode() makes them of UTF-8.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

from ..codec import DecodeError, Decoder, Encoder, Format
from ..escape import decoded, raw
from .entries import Attempt, Entry, Ledger, Reported

SCHEMA = "mountwarden.ledger/2"
LARGEST = 16 << 20
"""Bytes of the largest text: a reader takes no larger file."""
_FORMAT = Format(text=lambda value: value if isinstance(value, str) else decoded(value), raw=raw)


class Dumped(NamedTuple):
    """A ledger's text, and how many rows of it were left out, since it would have been too large."""

    data: bytes
    left_out: int


@dataclass(frozen=True, slots=True)
class _Row:
    """An element of one of the ledger's arrays."""

    section: str
    text: str
    rank: tuple[int, float]
    """What is left out first has the highest."""


def dump(ledger: Ledger) -> bytes:
    """The ledger as one line of JSON."""
    return dumped(ledger).data


def dumped(ledger: Ledger, limit: int = LARGEST) -> Dumped:
    """The ledger as one line of JSON of at most `limit` bytes.

    What would be too much is left out: causes and gaps first, then findings, of which nothing was reported, confirmed
    or tried; then the older ones.
    """
    encoder = Encoder(_FORMAT)
    whole = encoder.encode(ledger)
    if not ledger.asleep:  # an earlier version does not know it
        del whole["asleep"]
    data = _text({name: _json(value) for name, value in whole.items()})
    if len(data) <= limit:
        return Dumped(data, 0)
    rows = [row for name, value in whole.items() if isinstance(value, list) for row in _rows(name, value, ledger)]
    bare = {name: "[]" if isinstance(value, list) else _json(value) for name, value in whole.items()}
    free, kept = limit - len(_text(bare)), set[int]()
    for number, row in sorted(enumerate(rows), key=lambda each: each[1].rank):
        free -= len(row.text) + 1
        if free < 0:
            break
        kept.add(number)
    texts: dict[str, list[str]] = {}
    for number in sorted(kept):
        texts.setdefault(rows[number].section, []).append(rows[number].text)
    return Dumped(
        _text({**bare, **{name: f"[{','.join(some)}]" for name, some in texts.items()}}), len(rows) - len(kept)
    )


_RANKS = {"roots": 0, "acts": 0, "pending": 2, "storms": 3, "entries": 4, "gaps": 8, "causes": 9}
"""By section; those of entries differ, see `_of_entry`. What was tried comes before all: not twice."""


def _rows(section: str, values: list[Any], ledger: Ledger) -> Iterable[_Row]:
    """Of each section the later ones are the newer ones, but for entries, which know since when they are there."""
    ranks = [(_RANKS[section], -float(number)) for number in range(len(values))]
    if section == "entries":
        ranks = [(_of_entry(entry), -entry.first) for entry in ledger.entries.values()]
    return (_Row(section, _json(value), rank) for value, rank in zip(values, ranks, strict=True))


def _of_entry(entry: Entry) -> int:
    if entry.attempt is not Attempt.NONE:
        return 1
    return 4 if entry.reported is not Reported.NO else 5 if entry.confirmed else 6


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def _text(fields: dict[str, str]) -> bytes:
    inner = ",".join(f'"{name}":{text}' for name, text in fields.items())
    return f'{{"schema":"{SCHEMA}","ledger":{{{inner}}}}}'.encode()


def load(data: bytes | None, boot_id: str) -> tuple[Ledger, str | None]:
    """The ledger of a file's content, and why a new one was started; None when it was not, or there was no file."""
    if data is None:
        return Ledger(boot_id), None
    try:
        document = json.loads(data)
        if document["schema"] != SCHEMA:
            return Ledger(boot_id), f"the saved ledger is of another version ({document['schema']!r})"
        ledger = Decoder(_FORMAT).decode(Ledger, document["ledger"])
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        return Ledger(boot_id), f"the saved ledger can't be read ({type(error).__name__}: {error})"
    except DecodeError as error:
        return Ledger(boot_id), f"the saved ledger can't be read ({error})"
    if ledger.boot_id != boot_id:
        return Ledger(boot_id), "the saved ledger is of another boot"
    return ledger, None
