"""private-root: a mount that holds a root is not shared in its home, so that no umount reaches any copy."""

from dataclasses import replace

from ..model import Answers, Base, Finding, Kind, Mount, Picture, Question, RootState, Severity


def judge(picture: Picture, _answers: Answers) -> tuple[list[Finding], set[Question]]:
    """One finding for each mount of home that holds spots of a root and has no peer group."""
    findings = []
    reported: set[tuple[str, int | None, int]] = set()
    for state in picture.roots:
        if all(layout.needs_history for layout in state.root.layout):
            continue  # the whole host: whether / is shared is the operator's choice
        for base in state.bases:
            # An engine's volumes lie below its data-root, most often on the same mount: report that once.
            key = (state.root.engine, state.home, base.mount.id)
            if not base.mount.shared and key not in reported:
                reported.add(key)
                findings.append(_finding(picture, state, base))
    return findings, set()


def _finding(picture: Picture, state: RootState, base: Base) -> Finding:
    mount = base.mount
    kind = "a slave" if mount.master else "unbindable" if mount.unbindable else "private"
    return replace(
        Finding.of(
            Kind.PRIVATE_ROOT,
            state.root,
            mount,
            mountpoint=state.root.path if not base.rel else mount.point,
            namespace=state.home,
            home=state.home,
            spot=base.spot,
            boot_id=picture.boot_id,
        ),
        severity=Severity.INFO if _is_meant(state, mount) else Severity.WARNING,
        detail=f"the mount that contains it is {kind}",
    )


def _is_meant(state: RootState, mount: Mount) -> bool:
    """containers/storage without skip_mount_home, or an engine whose own namespace is a slave of the host's.

    The latter is what MountFlags=slave asks for: only the engine's own containers are made from that namespace.
    """
    return state.root.wants_private or (state.root.home_pid is not None and mount.master != 0)
