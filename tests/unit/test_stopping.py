"""Which command ends what a process belongs to."""

import pytest
from mountwarden.explain import stopping
from mountwarden.model import Holder

OF_USER = "systemctl --user --machine=1000@.host"


@pytest.mark.parametrize(
    ("unit", "user_unit", "container", "words", "command"),
    [
        ("web.service", None, None, "restart web.service", "systemctl restart web.service"),
        ("run-1.scope", None, None, "stop run-1.scope", "systemctl stop run-1.scope"),
        ("session-3.scope", None, None, "end session 3", "loginctl terminate-session 3"),
        ("session-c2.scope", None, None, "end session c2", "loginctl terminate-session c2"),
        ("user@1000.service", "p.service", None, "restart p.service of user 1000", f"{OF_USER} restart p.service"),
        ("user@1000.service", "app-x.scope", None, "stop app-x.scope of user 1000", f"{OF_USER} stop app-x.scope"),
        ("machine-box.scope", None, "box", "stop machine box", "machinectl terminate box"),
        ("systemd-nspawn@box.service", None, "box", "stop machine box", "machinectl terminate box"),
        (r"a\x2db.service", None, None, r"restart a\x2db.service", r"systemctl restart 'a\x2db.service'"),
        ("a b.service", None, None, "restart a b.service", None),
        # With these the host, a user's whole systemd, a slice or an engine's container would end:
        ("init.scope", None, None, None, None),
        ("user@1000.service", "init.scope", None, None, None),
        ("user@1000.service", None, None, None, None),
        ("user.slice", None, None, None, None),
        ("docker-x.scope", None, "f" * 64, None, None),
        (None, None, None, None, None),
    ],
)
def test_what_ends_it(
    unit: str | None, user_unit: str | None, container: str | None, words: str | None, command: str | None
) -> None:
    # A process of a user's unit may have another uid than its systemd.
    found = stopping.stop(Holder(1, "x", unit, container, user=0, user_unit=user_unit), restart=True)
    assert (found and found.words, found and found.command) == (words, command)
