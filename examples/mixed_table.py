"""A table of mixed columns: diamonds by weight and price, two proportions, and three graded qualities."""

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

    found, labels = model.parameters_, model.predict(X)
    order = np.argsort(found["lognormal_log_means"][:, 0])
    rows = [
        [
            f"{model.weights_[k]:.2f}",
            *(f"{value:,.2f}" for value in np.exp(found["lognormal_log_means"][k])),
            *(f"{value:.1f}" for value in found["gaussian_means"][k]),
            *(diamonds[name].cat.categories[int(np.argmax(share))]
              for name, share in zip(names[4:], found["categorical_probabilities"][k], strict=True)),
        ]
        for k in order
    ]  # fmt: skip
    title = f"{len(X):,} diamonds in four clusters"
    table(title, ["weight", "median carat", "median price", "depth", "table", "most are", "colour", "clarity"], rows)
    prices = [np.median(X[labels == k, 1]) for k in order]
    print("\nmedian price of the diamonds of each cluster:", ", ".join(f"{price:,.0f}" for price in prices))
    print(f"mean log-likelihood {model.score(X):.4f} after {model.n_iter_} steps, BIC {model.bic(X):,.0f}")
    assert model.converged_
    assert np.all(np.diff(model.lower_bounds_) > -1e-9)


if __name__ == "__main__":
    main()
