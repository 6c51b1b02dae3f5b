"""Pods of containerd's own plugin, asked for as a kubelet does: the runtime.v1.RuntimeService of Kubernetes' cri-api.

The calls are gRPC, sent by curl on the test host: HTTP/2 with messages behind five bytes (PROTOCOL-HTTP2.md of grpc).
A message is written here as {field's number: value}, which is all that the wire knows of it.
"""

import itertools
import json
import re
from collections.abc import Iterator, Mapping

from tests.support import rootfs
from tests.support.machine import Machine

SOCKET = "/run/containerd/containerd.sock"
NAMESPACE = "k8s.io"
"""containerd's own, of all pods."""
IMAGE = "localhost/pod:latest"

CONFIG_FILE = "/etc/containerd/config.toml"
_WRAPPER = "/usr/local/bin/runc-without-limits"
_CONFIG = f"""
version = 3
[plugins.'io.containerd.cri.v1.images'.pinned_images]
sandbox = '{IMAGE}'
[plugins.'io.containerd.cri.v1.runtime']
restrict_oom_score_adj = true
[plugins.'io.containerd.cri.v1.runtime'.cni]
bin_dirs = ['/usr/lib/cni']
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
runtime_type = 'io.containerd.runc.v2'
options = {{ BinaryName = '{_WRAPPER}' }}
"""
# The machine below may give the host no controllers, and a pod's limits can't be left out.
_WITHOUT_LIMITS = """#!/usr/bin/python3 -I
import json, os, sys
if "--bundle" in sys.argv:
    path = os.path.join(sys.argv[sys.argv.index("--bundle") + 1], "config.json")
    with open(path) as file:
        bundle = json.load(file)
    if bundle["linux"].pop("resources", None):
        with open(path, "w") as file:
            json.dump(bundle, file)
os.execvp("runc", sys.argv)
"""
_RANGES = [[{"subnet": "10.9.0.0/16"}]]
_BRIDGE = {"type": "bridge", "bridge": "cni0", "ipam": {"type": "host-local", "ranges": _RANGES}}
_NETWORK = {"cniVersion": "1.0.0", "name": "pods", "plugins": [_BRIDGE]}

Message = Mapping[int, "str | int | Message | list[str]"]


class CallFailed(Exception):
    """What the plugin answered instead of a message."""


class Pods:
    """Makes and removes pods of one container each, by containerd 2 on today's test host."""

    def __init__(self, host: Machine) -> None:
        self.host = host
        self._numbers = itertools.count(1)

    def start(self) -> None:
        """Configure and restart containerd.service, with an image for sandboxes and containers."""
        self.host.write(CONFIG_FILE, _CONFIG)
        self.host.write(_WRAPPER, _WITHOUT_LIMITS, 0o755)
        self.host.write("/etc/cni/net.d/pods.conflist", json.dumps(_NETWORK))
        self.host.run("systemctl", "restart", "containerd.service")
        self.host.podman("import", "--change", 'CMD ["/bin/sleep", "infinity"]', rootfs.ARCHIVE, IMAGE)
        self.host.run("sh", "-c", f"podman save {IMAGE} | ctr -n {NAMESPACE} image import -")

    def run(self, *command: str, host_network: bool = False) -> tuple[str, str]:
        """A pod with a running container; the ids of sandbox and container."""
        number = str(next(self._numbers))
        config: dict[int, Message] = {1: {1: f"pod{number}", 2: number, 3: "default", 4: 0}}
        if host_network:
            config[8] = {2: {1: {1: 2}}}  # linux.security_context.namespace_options.network = NODE
        (sandbox,) = self.call("RunPodSandbox", {1: config})
        wanted: Message = {1: {1: "main"}, 2: {1: IMAGE}, 3: list(command or ("/bin/sleep", "infinity"))}
        (container,) = self.call("CreateContainer", {1: sandbox, 2: wanted, 3: config})
        self.call("StartContainer", {1: container})
        return sandbox, container

    def stop_container(self, container: str) -> None:
        """Stop at once: no time to end by itself."""
        self.call("StopContainer", {1: container, 2: 0})

    def remove(self, sandbox: str) -> None:
        """Stop and remove a pod with its containers."""
        self.call("StopPodSandbox", {1: sandbox})
        self.call("RemovePodSandbox", {1: sandbox})

    def call(self, method: str, message: Message) -> list[str]:
        """The texts of the answer's own fields, such as the id of what was made. Raises: CallFailed."""
        body = encoded(message)
        data = b"\0" + len(body).to_bytes(4, "big") + body
        kind = ("-H", "content-type: application/grpc")
        socket = ("--unix-socket", SOCKET, f"http://localhost/runtime.v1.RuntimeService/{method}")
        curl = ("curl", "-sS", "--http2-prior-knowledge", *kind, "--data-binary", "@-", "-D", "/dev/stderr")
        done = self.host.run(*curl, *socket, input=data.decode(errors="surrogateescape"))
        if not re.search(r"^grpc-status: 0\r?$", done.stderr, re.MULTILINE):
            raise CallFailed(f"{method}: {done.stderr}")
        return list(_texts(done.stdout.encode(errors="surrogateescape")[5:]))


def encoded(message: Message) -> bytes:
    """A message of Protocol Buffers: numbers as varints, texts and messages with their length before them."""
    data = b""
    for number, value in message.items():
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, int):
                data += _varint(number << 3) + _varint(each)
            else:
                part = each.encode() if isinstance(each, str) else encoded(each)
                data += _varint(number << 3 | 2) + _varint(len(part)) + part
    return data


def _varint(number: int) -> bytes:
    data = b""
    while number > 0x7F:
        data += bytes([number & 0x7F | 0x80])
        number >>= 7
    return data + bytes([number])


def _texts(message: bytes) -> Iterator[str]:
    """Of answers in which each field is a text of less than 128 bytes, as ids are."""
    while message and message[0] & 7 == 2 and message[1] < 0x80:
        end = 2 + message[1]
        yield message[2:end].decode()
        message = message[end:]
