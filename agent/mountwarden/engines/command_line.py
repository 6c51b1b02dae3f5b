"""Options of a daemon's command line, in the forms that Go's flag libraries take."""

from collections.abc import Sequence


def option(argv: Sequence[bytes], *names: bytes) -> bytes | None:
    """The last value of any of the options `names` (`--data-root`, `-g`), or None.

    Forms: `--name value`, `--name=value`, `-n value`, `-n=value`, `-nvalue`. Nothing after `--` counts.
    """
    found: bytes | None = None
    words = list(argv[1:])
    if b"--" in words:
        del words[words.index(b"--") :]
    for index, word in enumerate(words):
        for name in names:
            following = words[index + 1] if index + 1 < len(words) else None
            value = _value(word, name, following)
            found = found if value is None else value
    return found


def _value(word: bytes, name: bytes, following: bytes | None) -> bytes | None:
    if word == name:
        return following
    if word.startswith(name + b"="):
        return word[len(name) + 1 :]
    if len(name) == 2 and word.startswith(name):
        return word[2:]
    return None
