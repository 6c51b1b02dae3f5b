"""The configuration's files: what they may hold, who may write them, and how errors name their place."""

import os
from pathlib import Path

import pytest
from mountwarden.config import files
from mountwarden.config import load as config_load
from mountwarden.config.dump import dump, example
from mountwarden.config.schema import Config, Mode, PolicyEntry, RootEntry, Silence
from mountwarden.errors import ConfigError
from mountwarden.model import Action, Kind, MountClass, Policy, RootKind, Tier


@pytest.fixture(autouse=True)
def _own_files_are_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_OWNER", os.geteuid())


def load(directory: Path) -> Config:
    return config_load.load(os.fsencode(directory))


def write(directory: Path, text: str | bytes, name: str = "mountwarden.toml") -> Path:
    file = directory / name
    file.parent.mkdir(exist_ok=True, mode=0o755)
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    file.chmod(0o644)
    return file


def refused(directory: Path) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        load(directory)
    assert "\n" not in caught.value.message
    return caught.value


def test_no_file_at_all_gives_the_defaults(tmp_path: Path) -> None:
    assert load(tmp_path) == Config()
    assert load(tmp_path / "absent") == Config()


def test_every_key(tmp_path: Path) -> None:
    write(
        tmp_path,
        """
        mode = "observe"
        tick = 2
        resync = "2m"
        tier = "statmount"
        engines = ["docker"]
        acts_per_minute = 5
        metrics = "/var/lib/m.prom"
        [confirm]
        layer = "500ms"
        netns = 120.5
        [[root]]
        path = "/srv/x"
        kind = "volume"
        layout = ["*/_data", "a/*"]
        fstype = "any"
        policy = "ask"
        [[policy]]
        action = "detach"
        policy = "off"
        engine = "custom"
        kind = "leaked"
        unit = "a.service"
        root = "/srv/x"
        [[silence]]
        reason = "known"
        until = 1970-01-02T01:00:00+01:00
        id = "mw-0123456789"
        """,
    )
    config = load(tmp_path)
    assert (config.mode, config.tick, config.resync, config.engines) == (Mode.OBSERVE, 2.0, 120.0, ("docker",))
    assert (config.acts_per_minute, config.metrics, config.tier) == (5, b"/var/lib/m.prom", Tier.STATMOUNT)
    assert config.confirm.seconds(Kind.LEAKED, MountClass.LAYER) == 0.5
    assert config.confirm.netns == 120.5
    assert config.confirm.shm == 1.0
    assert config.roots == (RootEntry(b"/srv/x", RootKind.VOLUME, (b"*/_data", b"a/*"), None, Policy.ASK),)
    assert config.policies == (PolicyEntry(Action.DETACH, Policy.OFF, b"/srv/x", "custom", Kind.LEAKED, "a.service"),)
    assert config.silences == (Silence("known", 86400.0, "mw-0123456789"),)


def test_drop_ins_count_later_and_lists_of_tables_add_up(tmp_path: Path) -> None:
    write(
        tmp_path, 'tick = 1\nmetrics = "/m"\ntier = "mountinfo"\n[confirm]\nlayer = 2\nshm = 2\n[[root]]\npath = "/a"\n'
    )
    write(tmp_path, "tick = 2\n[confirm]\nlayer = 3\n", "mountwarden.toml.d/20-b.toml")
    write(
        tmp_path, 'tick = 3\nmetrics = "none"\ntier = "best"\n[[root]]\npath = "/b"\n', "mountwarden.toml.d/30-c.toml"
    )
    write(tmp_path, "tick = 9\n", "mountwarden.toml.d/10-a.toml")
    write(tmp_path, "not toml", "mountwarden.toml.d/99-a.toml.bak")
    config = load(tmp_path)
    assert (config.tick, config.metrics, config.tier) == (3.0, None, None)
    assert (config.confirm.layer, config.confirm.shm) == (3.0, 2.0)
    assert [root.path for root in config.roots] == [b"/a", b"/b"]
    assert config.origin["tick"] == f"{tmp_path}/mountwarden.toml.d/30-c.toml:1"
    assert config.origin["confirm.shm"] == f"{tmp_path}/mountwarden.toml:6"
    assert config.origin["root[1]"] == f"{tmp_path}/mountwarden.toml.d/30-c.toml:4"


def test_the_command_line_counts_last(tmp_path: Path) -> None:
    write(tmp_path, 'mode = "act"\n')
    config = config_load.load(os.fsencode(tmp_path), {"mode": "observe"})
    assert config.mode is Mode.OBSERVE
    assert config.origin["mode"] == "command line"
    with pytest.raises(ConfigError, match="command line: mode"):
        config_load.load(os.fsencode(tmp_path), {"mode": "maybe"})


@pytest.mark.parametrize(
    ("text", "line", "words", "hint"),
    [
        ('tier = "statmuont"', 1, '"statmuont" is none of best, events, statmount, mountinfo', "statmount"),
        ("\ntikc = 1", 2, "tikc: no such key", "did you mean tick?"),
        ("[confirm]\nlayers = 1", 2, "confirm.layers: no such key", "did you mean layer?"),
        ('[[root]]\npath = "/a"\n[[root]]\npath = "/b"\npolice = "ask"', 5, "root[1].police", "policy"),
        ('mode = "obsreve"', 1, '"obsreve" is none of act, observe', "observe"),
        ('engines = [\n  "doker",\n]', 1, '"doker"', "docker"),
        ('engines = ["docker", "docker"]', 1, "twice", None),
        ('engines = "docker"', 1, "a list is wanted, this is a string", "["),
        ("tick = true", 1, "a duration is wanted", "systemd.time(7)"),
        (
            'tick = "1 fortnight"',
            1,
            'tick: "1 fortnight" is no time span',
            "write 90s, 15min, 2h or 7d; see systemd.time(7)",
        ),
        ("tick = nan", 1, "a duration is wanted", None),
        ("tick = inf", 1, "a duration is wanted", None),
        ("tick = " + "9" * 400, 1, "a duration is wanted", None),
        ("tick = 0", 1, "must be 100ms to 1min", None),
        ("tick = 30\nresync = 20", 2, "must not be shorter than tick", None),
        ("acts_per_minute = 1.5", 1, "a whole number is wanted", None),
        ("acts_per_minute = true", 1, "a whole number is wanted, this is a truth value", None),
        ("acts_per_minute = -1", 1, "must be 0 to", None),
        ("confirm = 3", 1, "a table is wanted, this is a number", "[confirm]"),
        ('root = "x"', 1, "an array of tables is wanted", "[[root]]"),
        ("[[root]]\n", 1, "root[0].path: must be given", None),
        ('[[root]]\npath = "srv"', 2, "an absolute path", None),
        ('[[root]]\npath = "/srv/../etc"', 2, "an absolute path", None),
        ('[[root]]\npath = "/"', 2, "not / itself", None),
        ('[[root]]\npath = "//a"', 2, "an absolute path", None),
        ('[[root]]\npath = "/a\\u0000b"', 2, "holds a NUL", None),
        ('[[root]]\npath = "/a"\nlayout = ["/x"]', 3, "each pattern", None),
        ('[[root]]\npath = "/a"\nlayout = ["x*/y"]', 3, "each pattern", None),
        ('[[root]]\npath = "/a"\nlayout = []', 3, "at least one", None),
        ('[[root]]\npath = "/a"\n[[root]]\npath = "/a"', 3, "/a is there twice", None),
        ('[[policy]]\naction = "detach"', 1, "policy[0].policy: must be given", None),
        ('[[silence]]\nreason = "x"', 2, "silence every finding", "add id"),
        ('[[silence]]\nid = "mw-1"', 1, "reason: must be given", None),
        ('[[silence]]\nreason = "x"\nid = "y"\nuntil = 2030-01-01T00:00:00', 4, "lacks its offset", "2030"),
        ('[[silence]]\nreason = "x"\nid = "y"\nuntil = "7d"', 4, "a date and time is wanted", "2030"),
        ("tick = 1\nresync = = 2", 2, "this is no TOML", "toml.io"),
        (b'mode = "act"\n# \xff', 2, "not UTF-8", "UTF-8"),
    ],
)
def test_what_is_wrong_is_told_with_file_line_key_and_hint(
    tmp_path: Path, text: str | bytes, line: int, words: str, hint: str | None
) -> None:
    file = write(tmp_path, text)
    error = refused(tmp_path)
    assert error.message.startswith(f"{file}:{line}: ")
    assert words in error.message
    assert hint is None or hint in (error.hint or "")
    assert [each.message for each in config_load.check(os.fsencode(tmp_path))] == [error.message]


def test_deep_nesting_is_an_error_like_any_other(tmp_path: Path) -> None:
    write(tmp_path, "a = " + "[" * 5000)
    assert "this is no TOML" in refused(tmp_path).message


def test_check_tells_every_error_of_every_file_by_line(tmp_path: Path) -> None:
    write(
        tmp_path,
        'tikc = 1\nmode = "obsreve"\n[confirm]\nlayers = 1\nshm = "x"\n[[root]]\npath = "srv"\nlayout = []\n'
        '[[root]]\npolice = "ask"\n[[silence]]\nreason = 1\n[[silence]]\nreason = "r"\n[[policy]]\nunit = 7\n',
    )
    write(tmp_path, "tick = 2\n", "mountwarden.toml.d/a.toml")
    write(tmp_path, "tick = 30\nresync = 20\nx = 1\n", "mountwarden.toml.d/b.toml")
    write(tmp_path, "a = [", "mountwarden.toml.d/c.toml")
    write(tmp_path, "version = 2\ny = 1\n", "mountwarden.toml.d/d.toml")
    errors = config_load.check(os.fsencode(tmp_path))
    told = [error.message.removeprefix(f"{tmp_path}/").removeprefix("mountwarden.toml.d/") for error in errors]
    assert [": ".join(text.split(": ")[:2]) for text in told] == [
        "mountwarden.toml:1: tikc",
        "mountwarden.toml:2: mode",
        "mountwarden.toml:4: confirm.layers",
        "mountwarden.toml:5: confirm.shm",
        "mountwarden.toml:7: root[0].path",
        "mountwarden.toml:8: root[0].layout",
        "mountwarden.toml:9: root[1].path",
        "mountwarden.toml:10: root[1].police",
        "mountwarden.toml:12: silence[0].reason",
        "mountwarden.toml:12: silence[0].reason",
        "mountwarden.toml:14: silence[1].reason",
        "mountwarden.toml:15: policy[0].action",
        "mountwarden.toml:15: policy[0].policy",
        "mountwarden.toml:16: policy[0].unit",
        "b.toml:3: x",
        "c.toml:1: this is no TOML",
        "d.toml:1: version",
        "b.toml:2: resync",
    ]
    assert refused(tmp_path).message == errors[0].message
    assert [error.hint for error in errors[:3]] == [
        "did you mean tick?",
        "did you mean observe?",
        "did you mean layer?",
    ]


@pytest.mark.parametrize("mode", [0o664, 0o646, 0o666])
def test_a_file_that_others_can_write_is_refused(tmp_path: Path, mode: int) -> None:
    write(tmp_path, "tick = 1\n").chmod(mode)
    error = refused(tmp_path)
    assert "others than root can write it" in error.message
    assert (error.hint or "").startswith("chmod go-w ")


def test_a_directory_that_others_can_write_is_refused(tmp_path: Path) -> None:
    file = write(tmp_path, "tick = 1\n", "mountwarden.toml.d/a.toml")
    file.parent.chmod(0o1777)
    assert "mountwarden.toml.d: others than root can write it" in refused(tmp_path).message


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_file_of_somebody_else_is_refused(tmp_path: Path) -> None:
    os.chown(write(tmp_path, "tick = 1\n"), 1234, 0)
    assert "belongs to user 1234" in refused(tmp_path).message


def test_a_symlink_through_a_directory_of_others_is_refused(tmp_path: Path) -> None:
    open_to_all = tmp_path / "open"
    safe = tmp_path / "safe"
    etc = tmp_path / "etc"
    for directory in (open_to_all, safe, etc):
        directory.mkdir(mode=0o755)
    target = write(safe, "tick = 2\n", "real.toml")
    (etc / "mountwarden.toml").symlink_to(target)
    assert load(etc).tick == 2.0
    (open_to_all / "hop").symlink_to(target)
    (etc / "mountwarden.toml").unlink()
    (etc / "mountwarden.toml").symlink_to("../open/hop")
    assert load(etc).tick == 2.0
    open_to_all.chmod(0o777)
    assert f"{open_to_all}: others than root can write it" in refused(etc).message


def test_odd_files_are_errors_and_never_waited_for(tmp_path: Path) -> None:
    main = tmp_path / "mountwarden.toml"
    main.symlink_to("mountwarden.toml")
    assert "can't be read" in refused(tmp_path).message
    main.unlink()
    main.symlink_to("absent")
    assert "can't be read" in refused(tmp_path).message
    main.unlink()
    main.mkdir()
    assert "no regular file" in refused(tmp_path).message
    main.rmdir()
    os.mkfifo(main, 0o600)
    assert "no regular file" in refused(tmp_path).message


def test_names_and_values_reach_a_message_escaped(tmp_path: Path) -> None:
    write(tmp_path, 'mode = "\\u001b[31m"\n')
    assert "\x1b" not in refused(tmp_path).message
    (tmp_path / "mountwarden.toml").write_text('"a\\u001b[2J" = 1\n')
    assert "\x1b" not in refused(tmp_path).message


def test_lines_are_found_for_the_usual_spellings() -> None:
    text = (
        'tick = 1\nconfirm.layer = 2\n[ confirm ]  # c\n"shm" = 3\n[[root]]\nlayout = [\n "a",\n]\n'
        "[[root]]\npath = '''\ntick = 5\n'''\n[[root.x]]\ny=1"
    )
    assert files.lines(text) == {
        "tick": 1,
        "confirm.layer": 2,
        "confirm": 3,
        "confirm.shm": 4,
        "root[0]": 5,
        "root[0].layout": 6,
        "root[1]": 9,
        "root[1].path": 10,
        "root.x[0]": 13,
        "root.x[0].y": 14,
    }


def test_the_example_is_the_defaults_and_names_every_key() -> None:
    assert config_load.parse(example().encode()) == Config()
    lines = [line.removeprefix("#") if not line.startswith("# ") else "" for line in example().splitlines()]
    uncommented = config_load.parse("\n".join(lines).encode())
    assert uncommented == Config(roots=uncommented.roots, policies=uncommented.policies, silences=uncommented.silences)
    assert (len(uncommented.roots), len(uncommented.policies), len(uncommented.silences)) == (1, 1, 1)
    keys = {line.split(" = ")[0] for line in dump(Config()).splitlines() if " = " in line}
    assert keys <= {line.split(" = ")[0].removeprefix("#") for line in example().splitlines()}


def test_show_tells_where_each_key_comes_from(tmp_path: Path) -> None:
    write(tmp_path, 'tick = 2\n[[silence]]\nreason = "x"\nid = "mw-1"\n')
    text = dump(load(tmp_path), origin=True)
    lines = {line.split("  #")[0].strip(): line.split("  # ")[1] for line in text.splitlines() if "  # " in line}
    assert lines['tick = "2s"'] == f"{tmp_path}/mountwarden.toml:1"
    assert lines['resync = "1min"'] == "default"
    assert lines["[[silence]]"] == f"{tmp_path}/mountwarden.toml:2"
    assert config_load.parse(text.encode()) == load(tmp_path)
