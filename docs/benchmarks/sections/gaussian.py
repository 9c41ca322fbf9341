"""Gaussian mixtures: seconds per EM iteration against scikit-learn, tgmm and pomegranate, and against bare products."""

from harness.store import at_least, at_most, geometric_mean, judged, lowest, ratio
from harness.workers import Libraries

from sections import gaussian_fits as fits
from sections.gaussian_fits import Case

CASES = (
    Case(1_000_000, 2, 3), Case(500_000, 1, 4), Case(200_000, 16, 16, iterations=(2, 4)), Case(200_000, 16, 16, "diag"),
    Case(100_000, 64, 16, iterations=(1, 3)), Case(100_000, 8, 64, iterations=(1, 3)),
    Case(20_000, 128, 10, iterations=(2, 4)), Case(100_000, 16, 16, "tied"), Case(200_000, 8, 8, "spherical"),
)  # fmt: skip
QUICK = (Case(200_000, 2, 3), Case(20_000, 16, 16))
PEERS = {"sklearn": "scikit-learn", "tgmm": "tgmm", "pomegranate": "pomegranate"}
LEAST = {"sklearn": 3.5, "tgmm": 3.0, "pomegranate": 3.0}
MEAN_AGAINST_SKLEARN = 18
ROOFLINE_FROM, ROOFLINE = 2000, 1.4
AGREE = 1e-6

HOW = """
Seconds per EM iteration in float64: the difference of two fits from the same weights, means and covariances that make
different numbers of iterations (2 and 6; 2 and 4 or 1 and 3 where a peer is slow), divided by that difference, so
that validation and preparation cancel. Nothing stops early (tol = 0, 1e-300 in tgmm, −∞ in pomegranate) and nothing
is added to the covariances (reg_covar = 0, which pomegranate does not have).

Least of three turns; libraries alternate, each in a process of its own with the same number of threads; within a turn
a fit is repeated until 0.2 s have gone. torch tensors are made beforehand.

Rows: K normal clusters of covariance I with centres 2·N(0, I); they overlap for small d and hardly for large d:
`zeros` is the share of responsibilities that are exactly 0 in our fit. `agree` is the largest difference between our
weights, means and covariances and any peer's after the first number of iterations: the work is the same.

`bare products` are the two matrix products of an iteration alone, K×p by p×n and K×n by n×p with p = d + d(d+1)/2, in
NumPy on as many threads, streamed over blocks in cache; `over bare` is our iteration in units of them, for full
covariances with p·K ≥ 2000.
"""


def run(quick):
    with Libraries() as libraries:
        rows = [measured(libraries, case, 2 if quick else 3) for case in (QUICK if quick else CASES)]
    judged(rows, {f"x_{peer}": least for peer, least in LEAST.items()})
    return {"title": "Gaussian mixtures", "how": HOW, "columns": columns(), "rows": rows, "targets": targets(rows)}


def columns():
    peers = [
        column
        for peer, name in PEERS.items()
        for column in ((peer, f"{name}, s", "seconds"), (f"x_{peer}", "ratio", "ratio"))
    ]
    return [
        ("case", "rows × columns", "text"), ("ours", "ours, s", "seconds"), *peers,
        ("gemm", "bare products, s", "seconds"), ("x_gemm", "over bare", "ratio"), ("zeros", "zeros", "share"),
        ("agree", "agree", "power"), ("met", "met", "text"),
    ]  # fmt: skip


def measured(libraries, case, repeats):
    """Return the row of one case."""
    first = case.iterations[0]
    fitted = {name: libraries.attempt(name, fits.parameters, case, first) for name in fits.FITS}
    able = [name for name, value in fitted.items() if value is not None]
    large = case.kind == "full" and case.statistics * case.K >= ROOFLINE_FROM
    best = per_iteration(libraries, case, able, repeats, roofline=large)
    row = {"case": str(case), "n": case.n, "d": case.d, "K": case.K, "kind": case.kind, "ours": best["ours"]}
    for peer in PEERS:
        row[peer] = best.get(peer)
        row[f"x_{peer}"] = ratio(row[peer], row["ours"])
    row["gemm"] = best.get("gemm")
    row["x_gemm"] = ratio(row["ours"], row["gemm"])
    row["zeros"] = libraries.attempt("ours", fits.zero_share, case, first)
    values = {name: fits.log_likelihood(case, fitted[name]) for name in able}
    row["log_likelihoods"] = values
    row["agree"] = max(fits.distance(fitted[name], fitted["ours"]) for name in able)
    row["likelihood"] = max(abs(value - values["ours"]) for value in values.values())
    return row


def per_iteration(libraries, case, names, repeats=3, roofline=False):
    """Return {library: seconds per iteration}, and the bare products if asked for."""
    few, many = case.iterations
    timers = {(name, count): (name, fits.seconds, case, count) for name in names for count in (few, many)}
    if roofline:
        timers["gemm"] = ("gemm", fits.gemm_seconds, case)
    best = libraries.take_turns(timers, repeats)
    found = {name: per_step(best, name, few, many) for name in names}
    return found | ({"gemm": best["gemm"]} if roofline else {})


def per_step(best, name, few, many):
    """Return the seconds of one iteration; None where a fit failed, or noise made more iterations the faster fit."""
    if best[name, few] is None or best[name, many] is None or best[name, many] <= best[name, few]:
        return None
    return (best[name, many] - best[name, few]) / (many - few)


def targets(rows):
    def ratios(peer):
        return [row[f"x_{peer}"] for row in rows]

    worst = [
        at_least(f"{name}: least ratio of any shape", lowest(ratios(peer)), LEAST[peer]) for peer, name in PEERS.items()
    ]
    over = [row["x_gemm"] for row in rows if row["x_gemm"]]
    return [
        at_least("scikit-learn: geometric mean of the ratios", geometric_mean(ratios("sklearn")), MEAN_AGAINST_SKLEARN),
        *worst,
        at_most("our iteration over the bare products, worst shape", max(over, default=None), ROOFLINE),
        at_most("difference of parameters after the same iterations", max(row["agree"] for row in rows), AGREE),
        at_most("difference of their mean log-likelihoods per row", max(row["likelihood"] for row in rows), AGREE),
    ]  # fmt: skip
