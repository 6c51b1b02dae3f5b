"""The ledger as JSON text, and back. The text is our own file's; what does not fit makes a new ledger, with the reason.

Bytes stand in it as os.fsdecode() makes them of UTF-8.
"""

import json

from ..codec import DecodeError, Decoder, Encoder, Format
from ..escape import decoded, raw
from .entries import Ledger

SCHEMA = "mountwarden.ledger/2"
_FORMAT = Format(text=lambda value: value if isinstance(value, str) else decoded(value), raw=raw)


def dump(ledger: Ledger) -> bytes:
    """The ledger as one line of JSON."""
    document = {"schema": SCHEMA, "ledger": Encoder(_FORMAT).encode(ledger)}
    return json.dumps(document, separators=(",", ":")).encode()


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
