"""100,000 damaged lines: each is a mount or is counted with its reason; nothing else ever happens."""

import random

from mountwarden.mounts.mountinfo import Lines, Unreadable, parse, parse_line
from mountwarden.mounts.table import Table

LINES = 100_000
SEED = 9803272
TELLING = (b" - ", b" ", b"\\", b"\\040", b"\\777", b":", b"//deleted", b"\0", b"shared:")


def damaged(line: bytes, chance: random.Random) -> bytes:
    """The line after one to four random edits."""
    data = bytearray(line)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(data) + 1)
        edit = chance.randrange(6)
        if edit == 0:
            del data[at : at + chance.randint(1, 8)]
        elif edit == 1:
            data[at:at] = bytes(chance.randrange(256) for _ in range(chance.randint(1, 4)))
        elif edit == 2 and at < len(data):
            data[at] = chance.randrange(256)
        elif edit == 3:
            data[at:at] = chance.choice(
                (b" - ", b" ", b"\\", b"\\040", b"\\777", b":", b"//deleted", b"\0", b"shared:")
            )
        elif edit == 4:
            data = data[:at]
        else:
            data[at:at] = data[: chance.randrange(len(data) + 1)]
    return bytes(data)


def test_no_line_raises_anything_but_its_reason() -> None:
    chance = random.Random(SEED)
    with open("/proc/self/mountinfo", "rb") as file:
        originals = file.read().splitlines()
    mounts = unreadable = 0
    reasons = set()
    for _ in range(LINES):
        line = damaged(chance.choice(originals), chance)
        try:
            parse_line(line.replace(b"\n", b""))
            mounts += 1
        except Unreadable as error:
            unreadable += 1
            reasons.add(str(error))
    assert mounts + unreadable == LINES
    assert mounts > LINES // 10, "the damage leaves many lines readable, with other content"
    assert len(reasons) >= 6, reasons


def test_no_text_raises_and_every_line_is_counted() -> None:
    chance = random.Random(SEED)
    with open("/proc/self/mountinfo", "rb") as file:
        originals = file.read().splitlines()
    for _ in range(300):
        text = b"\n".join(damaged(line, chance) for line in originals)
        mounts, unreadable = parse(text)
        assert len(mounts) + sum(unreadable.values()) == sum(1 for line in text.split(b"\n") if line)
        table = Table(mounts, unreadable)
        for mount in mounts:
            table.spot(mount)
            table.visible(mount)
        table.containing(b"/var/lib/docker")
        assert set(Lines(text).holding([b" - "])) == {line for line in text.split(b"\n") if b" - " in line}
