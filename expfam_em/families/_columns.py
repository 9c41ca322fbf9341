"""What families of independent columns with T(x) = x have in common."""

import numpy as np

from expfam_em.family import ExponentialFamily, Monomials


class IndependentColumns(ExponentialFamily):
    """Product of one-parameter densities, one a column, with T(x) = x: parts of a row are columns of η."""

    def sufficient_statistics(self, X):
        return np.asarray(X, np.float64)

    def monomials(self, n_features):
        return Monomials.identity(n_features)

    def marginal(self, natural, columns):
        return self, natural[:, columns]

    def conditional(self, natural, columns, values):
        return self, np.delete(natural, columns, axis=1)
