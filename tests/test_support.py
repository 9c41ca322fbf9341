"""Errors about impossible rows count rows as the user does, whatever weights they have."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

import expfam_em as ef
from expfam_em.blocks import ArrayRows
from expfam_em.csr import CSRBlock
from expfam_em.families import Poisson
from tests.own_families import Rayleigh


@given(
    bad=st.lists(st.booleans(), min_size=1, max_size=8),
    present=st.lists(st.booleans(), min_size=8, max_size=8),
    kind=st.sampled_from(["dense", "sparse"]),
)
def test_the_first_impossible_row_that_carries_weight_is_named(bad, present, kind):
    bad, present = np.array(bad), np.array(present[: len(bad)])
    X = np.where(bad, -1.0, 2.0)[:, None] * np.ones(3)
    rows = ArrayRows(CSRBlock.of(sparse.csr_array(X)) if kind == "sparse" else X, present.astype(float))
    if np.any(bad & present):
        message = rf"column 0 holds -1.0 \(row {np.argmax(bad & present)}\)"
        with pytest.raises(ValueError, match=message):
            rows.check_support(Poisson())
    else:
        rows.check_support(Poisson())


def test_a_fit_of_a_mixture_checks_its_rows():
    start = ef.Mixture(Poisson(), [1.0], np.zeros((1, 2)))
    with pytest.raises(ValueError, match=r"Poisson needs whole numbers from 0; column 1 holds -1.0 \(row 1\)"):
        ef.fit(start, np.array([[1, 2], [3, -1.0]]))
    with pytest.raises(ValueError, match=r"Rayleigh needs positive numbers; column 0 holds 0.0 \(row 2\)"):
        ef.fit(ef.Mixture(Rayleigh(), [1.0], -np.ones((1, 1))), np.array([[1.0], [2], [0]]))
