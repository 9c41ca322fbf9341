"""
A table of mixed columns
========================

A table of mixed columns: diamonds by weight and price, two proportions, and three graded qualities.
"""

import numpy as np
from _common import table
from plotnine.data import diamonds

import expfam_em as ef
from expfam_em.families import Categorical, Gaussian, LogNormal, Product


def main():
    names = ["carat", "price", "depth", "table", "cut", "color", "clarity"]
    grades = diamonds[names[4:]].apply(lambda column: column.cat.codes)
    X = np.column_stack([diamonds[names[:4]], grades]).astype(float)
    family = Product([(LogNormal("full"), [0, 1]), (Gaussian("full"), [2, 3]), (Categorical(), [4, 5, 6])])
    model = ef.ExponentialFamilyMixture(family, n_components=4, n_init=5, random_state=0).fit(X)
    rows = [
        [f"{len(of):,}", *(f"{of[name].median():,.4g}" for name in names[:4]), *of[names[4:]].mode().iloc[0]]
        for _, of in diamonds.groupby(model.predict(X))
    ]
    table("Diamonds in four clusters: medians, and the most frequent grades", ["diamonds", *names], rows)
    print(f"mean log-likelihood {model.score(X):.4f} after {model.n_iter_} steps, BIC {model.bic(X):,.0f}")
    assert model.converged_
    assert np.all(np.diff(model.lower_bounds_) > -1e-9)


if __name__ == "__main__":
    main()
