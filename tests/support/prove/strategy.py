"""Topologies as hypothesis makes them up."""

from hypothesis import strategies as st

from tests.support.prove.steps import Scenario, scenario, seeded


@st.composite
def _drawn(draw: st.DrawFn) -> Scenario:
    """Each choice is hypothesis's own, so that a failure shrinks."""
    return scenario(lambda among: draw(st.sampled_from(among)))


def scenarios() -> st.SearchStrategy[Scenario]:
    """Drawn ones, and evenly random ones: hypothesis likes to repeat what it drew, and hardly gets to some steps."""
    return st.one_of(_drawn(), st.integers(0, (1 << 64) - 1).map(seeded))
