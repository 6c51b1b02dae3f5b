"""Ids of findings on the command line: the beginning of one is enough where no other begins so."""

import difflib
from collections.abc import Collection, Iterable

from ..errors import MountwardenError
from ..escape import printable

LISTED = "it may be cleared already; mountwarden report lists what is there"


def resolved(wanted: Iterable[str], known: Collection[str]) -> list[str]:
    """The ids that are meant, each once; what begins none of the `known` stays as it is.

    Raises: MountwardenError where it begins several.
    """
    return list(dict.fromkeys(_resolved(text, known) for text in wanted))


def _resolved(text: str, known: Collection[str]) -> str:
    if text in known:
        return text
    found = [one for one in known if one.startswith(text)] if text not in ("", "mw-") else []
    if len(found) > 1:
        raise MountwardenError(
            f"{printable(text)} may be each of {', '.join(sorted(found)[:5])}", hint="give more of it"
        )
    return found[0] if found else text


def unknown(finding_id: str, known: Collection[str], where: str = "now", hint: str = LISTED) -> MountwardenError:
    """The error that there is no such finding, with the nearest one."""
    near = difflib.get_close_matches(finding_id, known, 1)
    return MountwardenError(
        f"there is no finding {printable(finding_id)} {where}", hint=f"did you mean {near[0]}?" if near else hint
    )
