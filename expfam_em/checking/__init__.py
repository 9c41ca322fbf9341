"""Whether a family obeys the laws that tie its methods together: a tool for whoever writes one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy import sparse

from expfam_em.checking.laws import LAWS, BrokenLawError
from expfam_em.checking.subject import LeftOutError, Subject
from expfam_em.family.base import ExponentialFamily
from expfam_em.family.optional import OfComponents, is_incomplete
from expfam_em.family.registry import family_of
from expfam_em.rows.caller import warn_caller
from expfam_em.rows.columns import check_table
from expfam_em.rows.csr import without_mask
from expfam_em.rows.threads import undisturbed
from expfam_em.rows.typing import Array, Observations, Seed

DECISIVE = ("∇A is the mean of T", "the density integrates to 1")
"""The laws that tie A to T and h; all others hold of the A of another density, too."""


class FamilyError(ValueError):
    """A law that a family breaks.

    Attributes
    ----------
    law : str
        Its name.
    family : str
        The family, as it is printed.
    sentence : str
        What came, what was expected, and what to look at.
    """

    def __init__(self, law: str, family: str, sentence: str) -> None:
        super().__init__(law, family, sentence)
        self.law: str = law
        self.family: str = family
        self.sentence: str = sentence

    def __str__(self) -> str:
        return f"{self.family} breaks a law ({self.law}): {self.sentence}"


@dataclass
class Report:
    """The laws that were checked and how far from broken each was, and those left out, with the reason."""

    family: str
    checked: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)

    @property
    def undecided(self) -> tuple[str, ...]:
        """The laws that tie A to T and h and were left out: without them, the density may be another than was meant."""
        return tuple(law for law in DECISIVE if law in self.left_out)

    def __repr__(self) -> str:
        lines = [f"  {law}: {note}" for law, note in self.checked.items()]
        lines += [f"  left out – {law}: {reason}" for law, reason in self.left_out.items()]
        head = f"{self.family} obeys {len(self.checked)} laws"
        if self.undecided:
            head += f"; it is undecided whether {' and '.join(self.undecided)}"
        return "\n".join([head, *lines])


def _refuse_impossible(family: ExponentialFamily, X: Array) -> None:
    """Raise a FamilyError if the family itself says that rows are impossible."""
    try:
        family.check_support(X.copy())
    except ValueError as error:
        law = "rows of X are possible"
        raise FamilyError(law, repr(family), f"check_support refuses rows of X: {error}") from error
    except Exception:  # it may need to be bound first, and that has failed
        return


@undisturbed
def check_family(family: ExponentialFamily, X: Observations, *, random_state: Seed = 0) -> Report:
    """Check the laws of an exponential family on rows, and name the first one that is broken.

    Parameters
    ----------
    family : ExponentialFamily
        Your own, or one of `expfam_em.families`.
    X : (n, d) array or sparse matrix
        Some tens of rows or more, as the family will be given: inside its support and not all alike. Natural
        parameters to test at are estimated from them. Integrals are taken over one or two columns.
    random_state : int or numpy Generator
        Draws weights of the rows and samples.

    Returns
    -------
    Report
        Prints as a list: each law with how far from broken it was, and what was left out and why. ``undecided`` has
        those left out without which A may belong to another density.

    Raises
    ------
    FamilyError
        A ValueError that names the law, what came, what was expected and what to look at.
    TypeError
        If the family is none, or is incomplete or `Componentwise`, whose densities are not those that T and A give.

    Warns
    -----
    UserWarning
        If laws that decide could not be checked, so that the family is not known to be right.

    Examples
    --------
    >>> import numpy as np, expfam_em as ef
    >>> report = ef.check_family(ef.families.Poisson(), np.random.default_rng(0).poisson(3.0, (50, 1)))
    >>> report.checked["the density integrates to 1"].startswith("over 0 ≤ whole x")
    True
    """
    family = family_of(family)
    check_table(X)
    given: Any = without_mask(X)
    X = np.array(given.toarray() if sparse.issparse(given) else given, np.float64)
    if X.ndim != 2 or len(X) < 4 or not np.isfinite(X).all():
        raise ValueError(f"X has shape {X.shape}; it must be (n, d), with at least 4 rows of finite numbers")
    if is_incomplete(family) or isinstance(family, OfComponents):
        raise TypeError(
            f"{family!r} has parts that are not observed, or components of different families, so that its methods are "
            "not about one density of x: check the families that it is made of"
        )
    report, subject = Report(repr(family)), Subject(family, X, np.random.default_rng(random_state))
    for law, check in LAWS.items():
        try:
            with np.errstate(all="ignore"):
                report.checked[law] = check(subject) or "holds"
        except LeftOutError as reason:
            report.left_out[law] = str(reason)
        except BrokenLawError as broken:
            raise FamilyError(law, repr(family), str(broken)) from broken
        except Exception as error:
            _refuse_impossible(family, X)  # which may be why
            sentence = f"it could not be checked, because {type(error).__name__} was raised: {error}"
            raise FamilyError(law, repr(family), sentence) from error
    if report.undecided:
        why = report.left_out[report.undecided[0]]
        warn_caller(
            f"{family!r} obeys the laws that were checked, but it is undecided whether "
            f"{' and '.join(report.undecided)} ({why}): give rows of one or two columns, or "
            "compare log_density with another source",
            UserWarning,
        )
    return report
