"""The configuration's files: who may have written them, their TOML, and the line of each key."""

import errno
import os
import re
import stat
import tomllib

from ..errors import ConfigError
from ..files import NotRegular, TooLarge, read_regular
from .getters import Source, TomlTable, escaped

MAIN = b"mountwarden.toml"
DROP_INS = b"mountwarden.toml.d"

_LIMIT = 1 << 20
_OWNER = 0
_LINKS = 40
_LINE = re.compile(r"at line (\d+)")
_HEADER = re.compile(r"\s*(\[{1,2})\s*([^\[\]]+?)\s*\]{1,2}\s*(?:#.*)?")
_KEY = re.compile(r"""\s*((?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*'))*)\s*=""")


def paths(directory: bytes) -> list[bytes]:
    """The files below `directory`, in the order in which they are read; later ones override. Only *.toml, no dot files.

    Raises: ConfigError when a directory can't be read.
    """
    drop_ins = os.path.join(directory, DROP_INS)
    try:
        names = sorted(os.listdir(drop_ins))
    except (FileNotFoundError, NotADirectoryError):
        names = []
    except OSError as error:
        raise _unreadable(drop_ins, error) from error
    found = [os.path.join(drop_ins, name) for name in names if name.endswith(b".toml") and not name.startswith(b".")]
    main = os.path.join(directory, MAIN)
    return [main, *found] if os.path.lexists(main) else found


def read(path: bytes) -> TomlTable:
    """The file's top table.

    Raises: ConfigError when it can't be read, when others than root could have written it, or when it is not TOML.
    """
    name = escaped(os.fsdecode(path).encode(errors="backslashreplace").decode())
    try:
        data = _trusted(path, name)
    except OSError as error:
        raise _unreadable(path, error) from error
    return parse(data, name)


def parse(data: bytes, name: str) -> TomlTable:
    """The top table of a file's content; `name` is the file's name in errors.

    Raises: ConfigError when it is not TOML in UTF-8.
    """
    try:
        text = data.decode()
        values = tomllib.loads(text)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{name}:{line}: the file is not UTF-8", hint="save it as UTF-8") from None
    except (ValueError, RecursionError) as error:
        line_of = _LINE.search(str(error))
        end = f":{text.count(chr(10), 0, -1) + 1}" if "end of document" in str(error) else ""
        at = f"{name}:{line_of[1]}" if line_of else f"{name}{end}"
        why = "tables or lists are nested too deeply" if isinstance(error, RecursionError) else escaped(str(error))
        raise ConfigError(f"{at}: this is no TOML: {why}", hint="see toml.io for the format") from None
    return TomlTable(Source(name, lines(text)), values)


def lines(text: str) -> dict[str, int]:
    """Key path to line, for the usual ways to write keys: enough for a message, not a parser."""
    found: dict[str, int] = {}
    counts: dict[str, int] = {}
    table, inside = "", ""
    for number, line in enumerate(text.splitlines(), 1):
        if inside:
            inside = "" if line.count(inside) % 2 else inside
            continue
        if header := _HEADER.fullmatch(line):
            table = _bare(header[2])
            if header[1] == "[[":
                counts[table] = counts.get(table, -1) + 1
                table = f"{table}[{counts[table]}]"
            found.setdefault(table, number)
        elif key := _KEY.match(line):
            found.setdefault(f"{table}.{_bare(key[1])}" if table else _bare(key[1]), number)
        inside = next((quote for quote in ('"""', "'''") if line.count(quote) % 2), "")
    return found


def _bare(key: str) -> str:
    return ".".join(part.strip().strip("\"'") for part in key.split("."))


def _trusted(path: bytes, name: str) -> bytes:
    _refuse_writable(os.stat(os.path.dirname(path) or b"."), escaped(os.fsdecode(os.path.dirname(path))))
    _walk(os.path.abspath(path))
    try:
        found = read_regular(path, _LIMIT)
    except NotRegular:
        raise ConfigError(f"{name}: this is no regular file") from None
    except TooLarge:
        raise ConfigError(f"{name}: the file has more than {_LIMIT >> 10} KiB") from None
    _refuse_writable(found.status, name)
    return found.data


def _walk(path: bytes) -> None:
    """Refuse a path that leads, also by symlinks, through a directory in which others than root could replace files.

    In a sticky directory such as /tmp they can't replace root's.

    Raises: ConfigError; OSError.
    """
    todo, at, links = path.split(b"/"), b"/", 0
    while todo:
        status = os.stat(at)
        if not status.st_mode & stat.S_ISVTX:
            _refuse_writable(status, escaped(os.fsdecode(at)))
        step = os.path.normpath(os.path.join(at, todo.pop(0)))  # `at` holds no symlink, so `..` is its parent
        if stat.S_ISLNK(os.lstat(step).st_mode):
            links += 1
            if links > _LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
            todo = [*os.readlink(step).split(b"/"), *todo]
            at = b"/" if os.readlink(step).startswith(b"/") else at
        elif todo:
            at = step


def _refuse_writable(status: os.stat_result, name: str) -> None:
    """The service does as root what the configuration says: only root may be able to write it. Raises: ConfigError."""
    if status.st_uid not in (0, _OWNER):
        raise ConfigError(f"{name}: belongs to user {status.st_uid}, not to root", hint=f"chown root {name}")
    if status.st_mode & 0o022:
        raise ConfigError(f"{name}: others than root can write it", hint=f"chmod go-w {name}")


def _unreadable(path: bytes, error: OSError) -> ConfigError:
    return ConfigError(f"{escaped(os.fsdecode(path))}: can't be read: {error.strerror or error}")
