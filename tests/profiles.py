"""How many examples Hypothesis draws: a few in each run, all of them with ``--hypothesis-profile=full``.

A profile says how many examples a test draws that says nothing about it: 100 in the profile ``full``, which is
Hypothesis's own number. A test that has a number of its own draws the same share of it.
"""

from hypothesis import Phase, settings

WHOLE = 100
FEWEST = 4

SHORT = "short"

settings.register_profile("full", max_examples=WHOLE, deadline=None)
settings.register_profile(SHORT, max_examples=5, deadline=None)


def share(most, fewest=FEWEST):
    """Return how many of the examples, or steps, of the profile ``full`` the current profile draws, or makes.

    Only test modules may ask: pytest loads the profile of the command line after ``conftest.py`` and before them.
    """
    return min(most, max(fewest, round(most * settings.default.max_examples / WHOLE)))


def draws(most, **how):
    """Return a decorator: ``most`` examples in the profile ``full``, a share of them in a shorter one."""
    return lambda test: settings(max_examples=share(most), **how)(test)


SAME = {"derandomize": True, "database": None, "phases": [Phase.explicit, Phase.generate]}
"""The same examples in every run; the first that fails is shown as it was drawn."""

drawn = draws(12, **SAME)
swept = draws(200, **SAME)
