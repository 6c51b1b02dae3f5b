"""Options of a daemon's command line, in the forms that Go's flag libraries take."""

from collections.abc import Sequence


def option(argv: Sequence[bytes], *names: bytes) -> bytes | None:
    """The last value of any of the options `names` (`--data-root`, `-g`), or None.

    Forms: `--name value`, `--name=value`, `-n value`, `-n=value`, `-nvalue`. Nothing after `--` counts.
    """
    return next(iter(reversed(options(argv, *names))), None)


def options(argv: Sequence[bytes], *names: bytes) -> list[bytes]:
    """All values of such options, in the order in which they were given."""
    words = list(argv[1:])
    if b"--" in words:
        del words[words.index(b"--") :]
    followed = zip(words, [*words[1:], None], strict=False)
    found = [_value(word, name, following) for word, following in followed for name in names]
    return [value for value in found if value is not None]


def _value(word: bytes, name: bytes, following: bytes | None) -> bytes | None:
    if word == name:
        return following
    if word.startswith(name + b"="):
        return word[len(name) + 1 :]
    if len(name) == 2 and word.startswith(name):
        return word[2:]
    return None
