"""dockerd's side of the plugin protocol, on a connection for each call; it makes the plugin look like a driver."""

import http.client
import json
import os
import socket
import threading
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

from mountwarden.graphdriver.driver import Change, ChangeKind, GraphdriverError
from mountwarden.graphdriver.plugin.connections import PluginLimits
from mountwarden.graphdriver.plugin.http import Server, listen
from mountwarden.graphdriver.plugin.protocol import GraphdriverPlugin

CHUNK = 32 * 1024


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("plugin")
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self._path)


def start(directory: str, home: str | None = None, limits: PluginLimits | None = None) -> tuple[Server, str]:
    """A plugin that serves in threads of this process; it ends with it."""
    plugin = GraphdriverPlugin(home, f"{directory}/state/plugin.json")
    plugin.restore()
    path = f"{directory}/plugins/plugin.sock"
    server = Server(listen(path), plugin, limits)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server, path


def chunks(stream: BinaryIO) -> Iterator[bytes]:
    while data := stream.read(CHUNK):
        yield data


class PluginClient:
    """A driver, all of whose calls go over the wire."""

    def __init__(self, path: str) -> None:
        self._path = path

    def raw(self, target: str, body: Any = b"", headers: Mapping[str, str] | None = None) -> tuple[int, bytes]:
        connection = UnixConnection(self._path)
        try:
            chunked = not isinstance(body, bytes)
            connection.request("POST", target, body, dict(headers or {}), encode_chunked=chunked)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def call(self, name: str, **request: Any) -> dict[str, Any]:
        """One call with JSON both ways; an Err is raised."""
        body = json.dumps({key: value for key, value in request.items() if value}).encode()
        return self._answer(*self.raw(f"/GraphDriver.{name}", body))

    def _answer(self, status: int, body: bytes) -> dict[str, Any]:
        value = json.loads(body)
        if value.get("Err"):
            raise GraphdriverError(value["Err"])
        assert status == 200
        return dict(value)

    def init(self, home: str, **maps: Any) -> None:
        self.call("Init", Home=home, **maps)

    def create(self, layer: str, parent: str = "", *, storage_opt: Mapping[str, str] | None = None) -> None:
        self.call("Create", ID=layer, Parent=parent, StorageOpt=storage_opt)

    def remove(self, layer: str) -> None:
        self.call("Remove", ID=layer)

    def get(self, layer: str, mount_label: str = "") -> bytes:
        return os.fsencode(self.call("Get", ID=layer, MountLabel=mount_label)["Dir"])

    def put(self, layer: str) -> int:
        self.call("Put", ID=layer)
        return 0

    def exists(self, layer: str) -> bool:
        return bool(self.call("Exists", ID=layer)["Exists"])

    def status(self) -> list[tuple[str, str]]:
        return [(key, value) for key, value in self.call("Status")["Status"]]

    def get_metadata(self, layer: str) -> dict[str, str]:
        return dict(self.call("GetMetadata", ID=layer)["Metadata"])

    def cleanup(self) -> None:
        self.call("Cleanup")

    def changes(self, layer: str, parent: str = "") -> list[Change]:
        found = self.call("Changes", ID=layer, Parent=parent)["Changes"]
        return [Change(c["Path"].encode(), ChangeKind(c["Kind"])) for c in found]

    def diff(self, layer: str, parent: str, stream: BinaryIO) -> int:
        status, body = self.raw("/GraphDriver.Diff", json.dumps({"ID": layer, "Parent": parent}).encode())
        if status != 200:
            self._answer(status, body)
        return stream.write(body)

    def diff_size(self, layer: str, parent: str = "") -> int:
        return int(self.call("DiffSize", ID=layer, Parent=parent)["Size"])

    def apply_diff(self, layer: str, parent: str, stream: BinaryIO, *, end_marker: bool = True) -> int:
        target = f"/GraphDriver.ApplyDiff?id={layer}&parent={parent}"
        answer = self.raw(target, chunks(stream), {"Transfer-Encoding": "chunked"})
        return int(self._answer(*answer)["Size"])
