"""A `Config` as TOML: for `config show`, and the example that the packages ship."""

import datetime
import enum
import json
import os
from collections.abc import Iterator
from dataclasses import fields

from .. import durations
from .load import ANY, BEST
from .schema import VERSION, Config, Confirm, PolicyEntry, RootEntry, Silence

_HEADS = {"root": "roots", "policy": "policies", "silence": "silences"}


def dump(config: Config, *, origin: bool = False) -> str:
    """The configuration as a file that loads to the same `Config`; `origin` adds each key's file and line."""
    lines = [_line(key, value, key, config, origin) for key, value in _top(config)]
    lines += ["", "[confirm]"]
    for each in fields(Confirm):
        value = _text(durations.text(getattr(config.confirm, each.name)))
        lines.append(_line(each.name, value, f"confirm.{each.name}", config, origin))
    for name, attribute in _HEADS.items():
        for index, entry in enumerate(getattr(config, attribute)):
            lines += ["", _remark(f"[[{name}]]", config.origin.get(f"{name}[{index}]") if origin else None)]
            lines += [f"{key} = {value}" for key, value in _entry(entry)]
    return "\n".join(lines) + "\n"


def root_entry(entry: RootEntry) -> str:
    """A `[[root]]` as TOML, each key in a line of its own."""
    return "\n".join(("[[root]]", *(f"{key} = {value}" for key, value in _entry(entry)))) + "\n"


def _top(config: Config) -> Iterator[tuple[str, str]]:
    yield "version", str(VERSION)
    yield "mode", _text(config.mode)
    yield "tick", _text(durations.text(config.tick))
    yield "resync", _text(durations.text(config.resync))
    yield "tier", _text(config.tier or BEST)
    yield "engines", _list(config.engines)
    yield "acts_per_minute", str(config.acts_per_minute)
    yield "metrics", _text(config.metrics if config.metrics is not None else "none")


def _entry(entry: RootEntry | PolicyEntry | Silence) -> Iterator[tuple[str, str]]:
    for each in fields(entry):
        value = getattr(entry, each.name)
        if each.name == "fstype" and value is None:
            value = ANY
        if isinstance(value, tuple):
            yield each.name, _list(value)
        elif isinstance(value, float):
            yield each.name, _moment(value)
        elif value is not None:
            yield each.name, _text(value)


def _line(key: str, value: str, path: str, config: Config, origin: bool) -> str:
    return _remark(f"{key} = {value}", config.origin.get(path, "default") if origin else None)


def _remark(line: str, remark: str | None) -> str:
    return f"{line:<40}  # {remark}" if remark is not None else line


def _text(value: str | bytes) -> str:
    """A basic string of TOML: JSON's escapes, which are stricter, and one for whatever else is not printable."""
    text = (
        os.fsdecode(value) if isinstance(value, bytes) else str(value.value if isinstance(value, enum.Enum) else value)
    )
    return "".join(_character(each) for each in json.dumps(text, ensure_ascii=False))


def _character(each: str) -> str:
    if each.isprintable():
        return each
    return f"\\u{ord(each):04x}" if ord(each) < 0x10000 else f"\\U{ord(each):08x}"


def _list(values: tuple[str | bytes, ...]) -> str:
    return f"[{', '.join(_text(value) for value in values)}]"


def _moment(value: float) -> str:
    start = datetime.datetime.fromtimestamp(0, datetime.UTC)
    return (start + datetime.timedelta(seconds=value)).isoformat().replace("+00:00", "Z")


EXAMPLE = """\
# /etc/mountwarden/mountwarden.toml
#
# Nothing here is required: what is commented out is the default. Files in mountwarden.toml.d/*.toml are read after this
# one, by name. `mountwarden config check` reads them all; `mountwarden config show --origin` shows the values in effect
# and where each comes from.

# The format of this file: a mountwarden that reads another one says so, instead of guessing.
#version = 1

# "act": detach leaked mounts where the evidence is certain and the policy is auto. "observe": only report.
#mode = "act"

# How often namespaces and roots are scanned, and how often everything is read again.
#tick = "1s"
#resync = "60s"

# The kernel interface that scans use: "best", or "events", "statmount", "mountinfo".
#tier = "best"

# Engines whose roots are watched.
#engines = ["docker", "containers-storage", "containerd", "kubelet", "netns", "host",
#"buildkit", "crio", "incus", "nerdctl"]

# Incidents that the service acts on in a minute, at most; one is all that it does on one root after one scan.
#acts_per_minute = 60

# A file for node_exporter's textfile collector, for example "/var/lib/node_exporter/mountwarden.prom".
#metrics = "none"

# How long a finding must last before it is reported.
#[confirm]
#layer = "1s"
#shm = "1s"
#volume = "5s"
#netns = "90s"
#pinned = "30s"
#orphaned = "30s"
#abandoned = "5m"
#private_root = "500ms"
#starting = "30s"

# A directory of an engine that is not listed above. * stands for one whole component.
#[[root]]
#path = "/srv/builder"
#kind = "custom"            # graph, netns, volume or custom
#layout = ["*/merged"]
#fstype = "overlay"         # or "any"
#policy = "ask"             # auto, ask or off, for share and detach

# Who decides on an action: auto (the service), ask (an operator), off (nobody). The last entry that matches counts.
#[[policy]]
#action = "detach"          # share, detach, rejoin, unmount or restart
#policy = "ask"
#root = "/var/lib/docker"   # and engine, kind, unit: what is not given matches anything

# A finding that is known and accepted: still found and in --json, but without exit code, alert or action.
#[[silence]]
#reason = "vendor agent, ticket 4711"
#unit = "vendor-agent.service"   # or id, root, kind
#until = 2030-01-31T12:00:00Z
"""


def example() -> str:
    """The example file of the packages: every key with its default, commented out."""
    return EXAMPLE
