"""Docker's graphdriver plugin protocol, each call of it, over a driver.

dockerd sends Activate and Init once when it starts. A plugin that restarts alone gets neither, so the arguments of Init
are kept in a file under /run, and the counts of uses start from what is mounted. On a broken connection dockerd
repeats its request for 15 s: each call can be repeated.
"""

import json
import logging
import os
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO
from urllib.parse import parse_qs

from ...errors import MountwardenError
from ...files import replace_file, sweep
from .. import idmap
from ..driver import ChangeKind, GraphdriverError, LayerExists
from ..overlay import OverlayDriver
from .http import BrokenBody, Reply

_log = logging.getLogger(__name__)
_PREFIX = "/GraphDriver."
_REQUEST_LIMIT = 1 << 20


class GraphdriverPlugin:
    """Answers dockerd. `home` overrides the one that dockerd names; a remapped daemon gets a directory in it."""

    def __init__(self, home: str | None, state: str) -> None:
        self._home = home
        self._state = state
        self._driver: OverlayDriver | None = None
        self._calls: dict[str, Callable[[Mapping[str, Any]], Reply]] = {
            "Init": self._init,
            "Create": self._create,
            "CreateReadWrite": self._create,
            "Remove": self._remove,
            "Get": self._get,
            "Put": self._put,
            "Exists": self._exists,
            "Status": self._status,
            "GetMetadata": self._get_metadata,
            "Cleanup": self._cleanup,
            "Diff": self._diff,
            "Changes": self._changes,
            "DiffSize": self._diff_size,
            "Capabilities": self._capabilities,
        }

    def answer(self, path: str, query: str, body: BinaryIO) -> Reply:
        """The reply to one request. An error of the driver goes to dockerd's user verbatim, with status 200."""
        try:
            if path == "/Plugin.Activate":
                return _reply(Implements=["GraphDriver"])
            if path == _PREFIX + "ApplyDiff":
                return self._apply_diff(query, body)
            call = self._calls.get(path.removeprefix(_PREFIX))
            if call is None or not path.startswith(_PREFIX):
                return _reply(404, Err=f"there is no call {path}")
            return call(_request(body))
        except (MountwardenError, OSError) as error:
            _log.log(logging.DEBUG if isinstance(error, BrokenBody) else logging.WARNING, "%s: %s", path, error)
            return _reply(Err=_message(error))
        except Exception as error:
            _log.exception("%s", path)
            return self.failure(error)

    def is_long(self, path: str) -> bool:
        """An archive comes as long as dockerd gets it itself."""
        return path == _PREFIX + "ApplyDiff"

    def failure(self, error: Exception) -> Reply:
        """The reply where status 200 would be taken for success."""
        return _reply(500, Err=_message(error))

    @property
    def driver(self) -> OverlayDriver:
        """The driver; by the arguments of the last Init. Raises: GraphdriverError where there was none."""
        if self._driver is None:
            raise GraphdriverError(
                "the plugin does not know its home yet", hint="restart dockerd: it names the home when it starts"
            )
        return self._driver

    def restore(self) -> None:
        """Continue where an earlier process of this plugin stopped; nothing to do if none has run since boot."""
        try:
            sweep(self._state)
            with open(self._state, encoding="utf-8") as file:
                self._driver = self._make(json.load(file))
        except FileNotFoundError:
            return

    def _make(self, init: Mapping[str, Any]) -> OverlayDriver:
        uid_maps, gid_maps = idmap.parse(init.get("UIDMaps")), idmap.parse(init.get("GIDMaps"))
        home = self._home or _text(init, "Home")
        if not home:
            raise GraphdriverError("Init names no home")
        maps = idmap.IdMaps(uid_maps, gid_maps)
        if self._home and maps:
            home = os.path.join(home, "{}.{}".format(*maps.root()))
        return OverlayDriver.init(home, init.get("Opts") or (), uid_maps, gid_maps, load_module=False)

    def _init(self, request: Mapping[str, Any]) -> Reply:
        """A daemon that starts has no gets of before: what is mounted counts as one use each."""
        self._driver = self._make(request)
        self._save(request)
        return Reply()

    def _save(self, request: Mapping[str, Any]) -> None:
        os.makedirs(os.path.dirname(self._state), mode=0o700, exist_ok=True)
        kept = {key: request.get(key) for key in ("Home", "Opts", "UIDMaps", "GIDMaps")}
        replace_file(self._state, json.dumps(kept).encode(), mode=0o600)

    def _capabilities(self, request: Mapping[str, Any]) -> Reply:
        """Docker must keep its own record of each layer's tar (tar-split): ours need not be the same bit by bit."""
        return _reply(Capabilities={"ReproducesExactDiffs": False})

    def _create(self, request: Mapping[str, Any]) -> Reply:
        layer, parent = _text(request, "ID"), _text(request, "Parent")
        options = request.get("StorageOpt")
        try:
            self.driver.create(layer, parent, storage_opt=options if isinstance(options, dict) else None)
        except LayerExists:
            if self.driver.parent(layer) != parent:
                raise
        return Reply()

    def _remove(self, request: Mapping[str, Any]) -> Reply:
        self.driver.remove(_text(request, "ID"))
        return Reply()

    def _get(self, request: Mapping[str, Any]) -> Reply:
        driver, layer = self.driver, _text(request, "ID")
        path = driver.get(layer, _text(request, "MountLabel"))
        return Reply(_json({"Dir": os.fsdecode(path)}), undo=lambda: driver.put(layer))

    def _put(self, request: Mapping[str, Any]) -> Reply:
        driver, layer = self.driver, _text(request, "ID")
        left = driver.put(layer)
        return Reply(undo=(lambda: driver.count_again(layer)) if left else None)

    def _exists(self, request: Mapping[str, Any]) -> Reply:
        return _reply(Exists=self.driver.exists(_text(request, "ID")))

    def _status(self, request: Mapping[str, Any]) -> Reply:
        return _reply(Status=[list(pair) for pair in self.driver.status()])

    def _get_metadata(self, request: Mapping[str, Any]) -> Reply:
        return _reply(Metadata=self.driver.get_metadata(_text(request, "ID")))

    def _cleanup(self, request: Mapping[str, Any]) -> Reply:
        self.driver.cleanup()
        return Reply()

    def _diff(self, request: Mapping[str, Any]) -> Reply:
        driver, layer, parent = self.driver, _text(request, "ID"), _text(request, "Parent")
        return Reply(stream=lambda out: driver.diff(layer, parent, out))

    def _changes(self, request: Mapping[str, Any]) -> Reply:
        found = self.driver.changes(_text(request, "ID"), _text(request, "Parent"))
        return _reply(Changes=[{"Path": _shown(c.path), "Kind": ChangeKind(c.kind).value} for c in found])

    def _diff_size(self, request: Mapping[str, Any]) -> Reply:
        return _reply(Size=self.driver.diff_size(_text(request, "ID"), _text(request, "Parent")))

    def _apply_diff(self, query: str, body: BinaryIO) -> Reply:
        """The body's framing shows a truncated one, so the tar itself may lack its end marker."""
        values = parse_qs(query, keep_blank_values=True)
        layer, parent = (values.get(key, [""])[0] for key in ("id", "parent"))
        return _reply(Size=self.driver.apply_diff(layer, parent, body, end_marker=False))


def _request(body: BinaryIO) -> Mapping[str, Any]:
    data = body.read(_REQUEST_LIMIT + 1)
    if len(data) > _REQUEST_LIMIT:
        raise GraphdriverError("the request is too big")
    try:
        value = json.loads(data) if data.strip() else {}
    except ValueError as error:
        raise GraphdriverError(f"the request is no JSON: {error}") from None
    if not isinstance(value, dict):
        raise GraphdriverError("the request is no JSON object")
    return value


def _text(request: Mapping[str, Any], key: str) -> str:
    value = request.get(key) or ""
    if not isinstance(value, str):
        raise GraphdriverError(f"{key} of the request is no text")
    return value


def _shown(path: bytes) -> str:
    return path.decode("utf-8", "replace")


def _message(error: Exception) -> str:
    hint = error.hint if isinstance(error, MountwardenError) else None
    return f"{error} ({hint})" if hint else str(error)


def _json(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value).encode() + b"\n"


def _reply(status: int = 200, **value: Any) -> Reply:
    return Reply(_json(value), status)
