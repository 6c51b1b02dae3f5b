"""Containers by their OCI bundles: containerd's tasks (CRI, nerdctl, ctr), and the names that CRI-O gives.

containerd: STATE/io.containerd.runtime.v2.task/NAMESPACE/ID/config.json (core/runtime/v2/bundle.go, NewBundle), whose
annotations have CRI's names (internal/cri/annotations/annotations.go). nerdctl: its labels are annotations too
(pkg/labels/labels.go; pkg/cmd/container/create.go, propagateInternalContainerdLabelsToOCIAnnotations). CRI-O: below the
store's run directory, overlay-containers/ID/userdata/config.json (internal/factory/container/container.go,
SpecAddAnnotations), with Kubernetes' own labels among the annotations.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from .known_containers import KnownContainer
from .stores import listed, load

_TASKS = "io.containerd.runtime.v2.task"
_CRI = "io.kubernetes.cri"
_CRIO = "io.kubernetes.cri-o"


@dataclass(frozen=True, slots=True)
class _Named:
    """What the annotations of a bundle say."""

    engine: str
    name: str | None
    pod: str | None = None
    is_sandbox: bool = False


def containerd(state: str) -> Iterator[KnownContainer]:
    """Every container that has a task, by the state directory of its containerd."""
    for namespace in listed(f"{state}/{_TASKS}"):
        for identity in listed(f"{state}/{_TASKS}/{namespace}"):
            bundle = f"{state}/{_TASKS}/{namespace}/{identity}"
            named = _of_containerd(_annotations(f"{bundle}/config.json"))
            names = (named.name,) if named.name else ()
            rootfs = f"{bundle}/rootfs"
            yield KnownContainer(named.engine, identity, names, rootfs, pod=named.pod, is_sandbox=named.is_sandbox)


def crio(run_directory: str, known: KnownContainer) -> KnownContainer:
    """The container with the names that Kubernetes knows it by, where CRI-O made it; else as it is."""
    if not any(name.startswith("k8s_") for name in known.names):
        return known
    named = _of_crio(_annotations(f"{run_directory}/overlay-containers/{known.id}/userdata/config.json"))
    if named is None or named.name is None:
        return known
    names = (named.name, *known.names)
    return replace(known, engine=named.engine, names=names, pod=named.pod, is_sandbox=named.is_sandbox)


def _of_containerd(found: Mapping[str, str]) -> _Named:
    if f"{_CRI}.container-type" in found:
        sandbox = found[f"{_CRI}.container-type"] == "sandbox"
        pod = found.get(f"{_CRI}.sandbox-name")
        return _Named("containerd, CRI", pod if sandbox else found.get(f"{_CRI}.container-name"), pod, sandbox)
    if "nerdctl/name" in found:
        return _Named("nerdctl", found["nerdctl/name"])
    return _Named("containerd", None)


def _of_crio(found: Mapping[str, str]) -> _Named | None:
    kind = found.get(f"{_CRIO}.ContainerType")
    if kind not in ("sandbox", "container"):
        return None
    sandbox = kind == "sandbox"
    pod = found.get("io.kubernetes.pod.name") or (found.get(f"{_CRIO}.KubeName") if sandbox else None)
    own = found.get("io.kubernetes.container.name") or _metadata_name(found.get(f"{_CRIO}.Metadata", ""))
    return _Named("CRI-O", pod if sandbox else own, pod, sandbox)


def _metadata_name(text: str) -> str | None:
    try:
        match json.loads(text):
            case {"name": str(name)}:
                return name
    except (ValueError, RecursionError):
        pass
    return None


def _annotations(path: str) -> dict[str, str]:
    match load(path):
        case {"annotations": dict(found)}:
            return {key: value for key, value in found.items() if isinstance(value, str)}
    return {}
