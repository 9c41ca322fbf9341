"""The families that come with the package, apart from what families are made from."""

import inspect

import expfam_em as ef

NAMES = [
    name
    for name in ef.families.__all__
    if isinstance(kind := getattr(ef.families, name), type)
    and issubclass(kind, ef.ExponentialFamily)
    and not inspect.isabstract(kind)
]
