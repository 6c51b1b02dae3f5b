"""What is shown loads again to the same configuration, and no content of a file does more than raise ConfigError."""

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st
from mountwarden.config import files
from mountwarden.config import load as config_load
from mountwarden.config.dump import dump
from mountwarden.config.schema import ENGINES, Config, Confirm, Mode, PolicyEntry, RootEntry, Silence
from mountwarden.errors import ConfigError
from mountwarden.model import Action, Kind, Policy, RootKind, Tier

TEXT = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), min_size=1, max_size=20)
COMPONENT = TEXT.map(lambda text: text.replace("/", "_").replace("*", "x")).filter(lambda text: text not in (".", ".."))
PATHS = st.lists(COMPONENT, min_size=1, max_size=4).map(lambda parts: ("/" + "/".join(parts)).encode())
PATTERNS = st.lists(COMPONENT | st.just("*"), min_size=1, max_size=4).map(lambda parts: "/".join(parts).encode())


def seconds(least: float, most: float) -> st.SearchStrategy[float]:
    return st.integers(int(least * 1e6), int(most * 1e6)).map(lambda microseconds: microseconds / 1e6)


MOMENTS = st.integers(-(10**9), 10**10).map(float)


def message_of(load: Callable[[], Config]) -> str | None:
    """The message of the ConfigError that `load` raises, None where it raises none."""
    try:
        load()
    except ConfigError as error:
        return error.message
    return None


def maybe(strategy: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    return st.none() | strategy


ROOTS = st.builds(
    RootEntry,
    path=PATHS,
    kind=st.sampled_from(RootKind),
    layout=st.lists(PATTERNS, min_size=1, max_size=3).map(tuple),
    fstype=maybe(TEXT.filter(lambda text: text != config_load.ANY)),
    policy=maybe(st.sampled_from(Policy)),
)


def _is_refused(entry: PolicyEntry) -> bool:
    """What dead runtimes left is unmounted by itself of containerd alone."""
    left = entry.action is Action.UNMOUNT and entry.policy is Policy.AUTO and entry.kind is Kind.ABANDONED
    return left and entry.engine not in (None, "containerd")


POLICIES = st.builds(
    PolicyEntry,
    action=st.sampled_from(Action),
    policy=st.sampled_from(Policy),
    root=maybe(PATHS),
    engine=maybe(st.sampled_from((*ENGINES, "custom"))),
    kind=maybe(st.sampled_from(Kind)),
    unit=maybe(TEXT),
).filter(lambda entry: not _is_refused(entry))
SILENCES = st.builds(
    Silence,
    reason=TEXT,
    until=maybe(MOMENTS),
    id=TEXT,
    root=maybe(PATHS),
    unit=maybe(TEXT),
    kind=maybe(st.sampled_from(Kind)),
)
CONFIGS = st.builds(
    Config,
    mode=st.sampled_from(Mode),
    tick=seconds(0.1, 60),
    resync=seconds(60, 3600),
    confirm=st.builds(Confirm, *[seconds(0, 3600)] * 7),
    engines=st.lists(st.sampled_from(ENGINES), unique=True).map(tuple),
    roots=st.lists(ROOTS, max_size=3, unique_by=lambda root: root.path).map(tuple),
    policies=st.lists(POLICIES, max_size=3).map(tuple),
    silences=st.lists(SILENCES, max_size=3).map(tuple),
    acts_per_minute=st.integers(0, 100_000),
    tier=st.none() | st.sampled_from(Tier),
    metrics=maybe(PATHS),
)


@given(CONFIGS)
def test_what_is_shown_loads_again_to_the_same(config: Config) -> None:
    text = dump(config)
    assert config_load.parse(text.encode()) == config
    assert text.replace("\n", "").isprintable()


@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode(errors="surrogatepass")))
def test_any_bytes_are_a_configuration_or_an_error(data: bytes) -> None:
    message = message_of(lambda: config_load.parse(data, "file"))
    assert message is None or message.startswith(("file: ", "file:"))
    assert message is None or message.isprintable()


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.datetimes(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)
KEYS = st.sampled_from(
    [
        "version",
        "mode",
        "tick",
        "resync",
        "tier",
        "engines",
        "acts_per_minute",
        "metrics",
        "confirm",
        "root",
        "policy",
        "silence",
    ]
)


@given(st.dictionaries(KEYS, VALUES, max_size=4))
def test_any_value_of_a_known_key_is_taken_or_an_error(values: dict[str, object]) -> None:
    message = message_of(lambda: config_load.load(b"/proc/absent", values))
    assert message is None or message.startswith("command line: ")


@given(st.text(max_size=300))
def test_finding_lines_never_fails(text: str) -> None:
    assert all(line >= 1 for line in files.lines(text).values())
