"""A wrong configuration: commands look all the same, as the service does, and act only where policies are known."""

import os
import signal
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from mountwarden.cli import configuration, session
from mountwarden.config.schema import Config, Mode, Silence
from mountwarden.errors import ConfigError, MountwardenError
from mountwarden.model import Tier
from mountwarden.observe import tiers
from mountwarden.state import effective, lock
from mountwarden.state.run_directory import RunDirectory

USED = Config(mode=Mode.OBSERVE, silences=(Silence("known", unit="leaky.service"),))
WRONG = 'mode = "obsreve"\ntikc = 1\n'


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunDirectory:
    """The directory of the service, and /etc/mountwarden with a wrong configuration."""
    made = RunDirectory(tmp_path / "run")
    monkeypatch.setattr(configuration, "RunDirectory", lambda: made)
    monkeypatch.setattr(session, "RunDirectory", lambda: made)
    monkeypatch.setattr(configuration, "DIRECTORY", os.fsencode(tmp_path))
    (tmp_path / "mountwarden.toml").write_text(WRONG)
    return made


def default() -> Namespace:
    """The options where --config is not given."""
    return Namespace(config=configuration.DIRECTORY, tier=None)


@contextmanager
def service(run: RunDirectory) -> Iterator[None]:
    """A process that has the lock, as the service; killed at the end."""
    ready, done = os.pipe()
    pid = os.fork()
    if pid == 0:
        lock.serve(run)
        os.write(done, b".")
        signal.pause()
    assert os.read(ready, 1)
    yield
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    os.close(ready)
    os.close(done)


def test_a_command_goes_on_with_what_the_service_uses(run: RunDirectory, capsys: pytest.CaptureFixture[str]) -> None:
    with service(run):
        effective.write(run, USED)
        arguments = default()
        assert configuration.of(arguments) == configuration.of(arguments) == configuration.of(default(), acts=True)
        assert configuration.of(arguments) == USED
    first, hint, *_rest = capsys.readouterr().err.splitlines()
    assert first.endswith(
        'mountwarden.toml:1: mode: "obsreve" is none of act, observe; going on with the configuration of the service'
    )
    assert hint == "hint: mountwarden config check"
    assert len(_rest) == 2, "once for each command"
    assert run.config.stat().st_mode & 0o777 == 0o600


def test_what_an_ended_service_used_counts_no_more(run: RunDirectory, capsys: pytest.CaptureFixture[str]) -> None:
    effective.write(run, USED)
    with service(run):
        pass
    assert configuration.of(default()) == Config()
    assert "; going on with the defaults\n" in capsys.readouterr().err


@pytest.mark.parametrize("damaged", [b"\xff", b"mode = 7", None])
def test_what_the_service_uses_may_be_damaged(run: RunDirectory, damaged: bytes | None) -> None:
    with service(run):
        if damaged:
            run.config.write_bytes(damaged)
        assert configuration.of(default()) == Config()


def test_no_act_without_the_policies(run: RunDirectory, capsys: pytest.CaptureFixture[str]) -> None:
    effective.write(run, USED)
    with pytest.raises(ConfigError, match="nothing was done") as refused:
        configuration.of(default(), acts=True)
    assert (refused.value.status, refused.value.hint) == (2, "mountwarden config check")
    assert capsys.readouterr().err == ""


def test_a_directory_that_an_option_names_must_be_right(run: RunDirectory, tmp_path: Path) -> None:
    with service(run):
        effective.write(run, USED)
        with pytest.raises(ConfigError, match="obsreve"):
            configuration.of(Namespace(config=os.fsencode(tmp_path)))


def test_a_right_configuration_is_used_in_silence(run: RunDirectory, capsys: pytest.CaptureFixture[str]) -> None:
    (run.path.parent / "mountwarden.toml").write_text("tick = 2\n")
    with service(run):
        effective.write(run, USED)
        assert configuration.of(default(), acts=True) == Config(tick=2.0)
    assert capsys.readouterr().err == ""


def test_a_tier_that_does_not_work_here_keeps_no_command_from_looking(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def take(tier: Tier | None, really: object = tiers.take) -> object:
        if tier is Tier.EVENTS:
            raise MountwardenError("events does not work here")
        return really(tier)  # type: ignore[operator]

    monkeypatch.setattr(tiers, "take", take)
    (run.path.parent / "mountwarden.toml").write_text('tier = "events"\n')
    assert session.scanner(default()).config.tier is None
    assert "events does not work here; going on with the best tier that works" in capsys.readouterr().err
    with pytest.raises(MountwardenError):
        session.scanner(Namespace(config=configuration.DIRECTORY, tier="events"))
    with pytest.raises(MountwardenError):
        session.scanner(Namespace(config=os.fsencode(str(run.path.parent)), tier=None))
