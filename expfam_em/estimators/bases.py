"""Base classes of scikit-learn, which says nothing of types; a type checker is told what estimators have from them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Self

from numpy.typing import NDArray

if TYPE_CHECKING:
    from expfam_em.rows.typing import Floats

    class BaseEstimator:
        n_features_in_: int
        feature_names_in_: NDArray[Any]

        def get_params(self, deep: bool = True) -> dict[str, Any]: ...
        def set_params(self, **params: Any) -> Self: ...
        def get_metadata_routing(self) -> Any: ...
        def set_fit_request(self, **requested: bool | str | None) -> Self: ...
        def set_partial_fit_request(self, **requested: bool | str | None) -> Self: ...
        def set_score_request(self, **requested: bool | str | None) -> Self: ...
        def __sklearn_tags__(self) -> Any: ...
        def __setstate__(self, state: dict[str, Any]) -> None: ...
        def _validate_params(self) -> None: ...

    class ClusterMixin:
        pass

    class DensityMixin:
        pass

    class Transformer:
        def fit_transform(self, X: Any, *args: Any, **fit_params: Any) -> Floats: ...
        def set_output(self, *, transform: Literal["default", "pandas", "polars"] | None = None) -> Self: ...
        def get_feature_names_out(self, input_features: Any = None) -> NDArray[Any]: ...
        def __sklearn_tags__(self) -> Any: ...

else:
    from sklearn.base import (
        BaseEstimator,
        ClassNamePrefixFeaturesOutMixin,
        ClusterMixin,
        DensityMixin,
        TransformerMixin,
    )

    class Transformer(ClassNamePrefixFeaturesOutMixin, TransformerMixin):
        """What maps rows to columns, which have names made of that of the class."""


__all__ = ["BaseEstimator", "ClusterMixin", "DensityMixin", "Transformer"]
