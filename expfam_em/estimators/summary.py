"""What a fitted mixture says of its rows, to be printed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from expfam_em.analysis.uncertainty import StandardErrors


@dataclass(frozen=True, eq=False)
class Summary:
    """A fitted mixture in numbers; printed, it is a table.

    Attributes
    ----------
    title, status : str
        The family and its components, and how the fit ended.
    n, n_features, n_components, n_parameters : int or float
        n is the total row weight.
    log_likelihood, aic, bic, icl : float
        Of all rows.
    estimates : dict of str to array
        Mixing weights and named parameters.
    errors : StandardErrors, optional
        None where the mixture has none.
    why : str
        Then, why.
    """

    title: str
    status: str
    n: float
    n_features: int
    n_components: int
    n_parameters: int
    log_likelihood: float
    aic: float
    bic: float
    icl: float
    estimates: dict[str, Any]
    errors: StandardErrors | None
    why: str = ""

    def __str__(self) -> str:
        rows = f"{self.n:g} rows of {self.n_features} columns, {self.n_components} components, "
        head = [
            self.title,
            rows + f"{self.n_parameters} free parameters",
            f"log-likelihood {self.log_likelihood:.4f}, AIC {self.aic:.4f}, BIC {self.bic:.4f}, ICL {self.icl:.4f}",
            self.status,
            "",
        ]
        if self.errors is not None:
            return "\n".join([*head, str(self.errors)])
        named = [f"{name}\n{value}" for name, value in self.estimates.items()]
        return "\n".join([*head, *named, f"No standard errors: {self.why}."])

    __repr__ = __str__
