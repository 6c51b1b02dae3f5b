from mountwarden import shown


def test_plain_text_stays() -> None:
    assert shown.path("/var/lib/größe".encode()) == "/var/lib/größe"


def test_control_characters_and_undecodable_bytes_are_escaped() -> None:
    assert shown.path(b"/a\x1b[2J\n\xff\xe2\x80\xae") == r"/a\x1b[2J\x0a\xff\xe2\x80\xae"


def test_escapes_are_told_from_a_name_that_looks_like_one() -> None:
    assert shown.path(rb"\x0a") != shown.path(b"\n")


def test_unit_keeps_its_own_escapes() -> None:
    assert shown.name(r"dev-disk\x2da.service") == r"dev-disk\x2da.service"
    assert shown.name("a b\x1b") == r"a b\x1b"


def test_time_is_utc() -> None:
    assert shown.time(1795498811.9) == "2026-11-24T05:40:11Z"
