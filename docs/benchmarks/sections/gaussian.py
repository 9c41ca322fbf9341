"""Gaussian mixtures: seconds per EM iteration against many peers in two settings, and against bare products."""

from harness.store import at_least, at_most, geometric_mean, judged, largest, lowest
from harness.timing import Timing, compared, seconds
from harness.workers import Libraries

from sections import gaussian_fits as fits
from sections.gaussian_fits import Case
from sections.settings import SETTINGS, in_settings

CASES = (
    Case(1_000_000, 2, 3), Case(500_000, 1, 4), Case(200_000, 16, 16, iterations=(1, 3)),
    Case(200_000, 16, 16, "diag", iterations=(2, 4)), Case(100_000, 64, 16, iterations=(1, 3)),
    Case(100_000, 8, 64, iterations=(1, 3)), Case(20_000, 128, 10, iterations=(2, 4)),
    Case(100_000, 16, 16, "tied", iterations=(2, 4)), Case(200_000, 8, 8, "spherical"),
)  # fmt: skip
SMALLER = (
    Case(100_000, 2, 3, iterations=(1, 3)), Case(5_000, 16, 16, iterations=(1, 3)),
    Case(5_000, 16, 16, "diag", iterations=(1, 3)), Case(2_000, 64, 10, iterations=(1, 3)),
)  # fmt: skip
QUICK, QUICK_SMALLER = (Case(200_000, 2, 3), Case(20_000, 16, 16)), (Case(2_000, 2, 3), Case(1_000, 8, 4, "diag"))
PEERS = {"sklearn": "scikit-learn", "tgmm": "tgmm", "pomegranate": "pomegranate"}
OTHERS = {"armadillo": "Armadillo", "mlpack": "mlpack", "mclust": "mclust", "flexmix": "flexmix", "mixle": "mixle"}
LEAST = {
    "separated": {"sklearn": 6.0, "tgmm": 3.0, "pomegranate": 3.0},
    "overlapping": {"sklearn": 4.0, "tgmm": 3.0, "pomegranate": 3.0},
}
MEAN_AGAINST_SKLEARN = {"separated": 25, "overlapping": 20}
ROOFLINE_FROM, ROOFLINE = 2000, 1.4
AGREE = 1e-6

HOW = """
Seconds per EM iteration in float64: the difference of two fits from the same weights, means and covariances that make
different numbers of iterations (2 and 6; 2 and 4 or 1 and 3 where a peer is slow), divided by that difference, so
that validation and preparation cancel. Nothing stops early (tol = 0, 1e-300 in tgmm, −∞ in pomegranate) and nothing
is added to the covariances (reg_covar = 0, which pomegranate does not have).

Least of three turns, of two if a fit takes longer than 1.5 s, of one if longer than 5 s; libraries alternate, each in
a process of its own with the same number of threads; within a turn a fit is repeated until 0.2 s have gone. torch
tensors are made beforehand. A ratio is that of the least times; in parentheses are the least and the largest ratio of
any single turn.

Two settings. Separated: K normal clusters of covariance I with centres 2·N(0, I); the start is within 0.5·N(0, I) of
the centres, with covariances I. Overlapping: `make_blobs(n, d, centers=K, cluster_std=3)` + 5; the start is the first
K rows, with the mean variance v of a column in covariances v·I. `matter` is the number of components whose
responsibility for a row exceeds 2⁻⁶⁰, on average, after the first number of iterations. `agree` is the largest
difference between our weights, means and covariances and any peer's then, each relative to its largest entry or 1:
the work is the same.

`over bare` is our iteration in units of the two matrix products of an iteration alone, K×p by p×n and K×n by n×p with
p = d + d(d+1)/2, in NumPy on as many threads, streamed over blocks in cache; for full covariances with p·K ≥ 2000.
"""
HOW_OTHERS = """
Peers outside scikit-learn's world, at sizes that all of them can do; each is optional. Before the semicolon the
turns, after it the ratio of CPU seconds of all threads. Armadillo's `gmm_full` and `gmm_diag` are a C++ program,
compiled for this processor, with OpenMP; mclust's `em` and flexmix's `FLXMCmvnorm` run in R, timed inside R, on one
thread and with the BLAS that R has. flexmix starts from responsibilities, divides by n − 1 and returns the weights of
the next step; mixle adds to the covariances: neither is counted in `agree`. mlpack cannot be told where to start: it
starts from k-means, the same in both fits.
"""
INEXACT = ("flexmix", "mixle", "mlpack")


def run(quick):
    tables, rows = [], []
    with Libraries() as libraries:
        for peers, cases, units, how in (
            (PEERS, QUICK if quick else CASES, "ratio", ()),
            (OTHERS, QUICK_SMALLER if quick else SMALLER, "cpu", [HOW_OTHERS]),
        ):
            for setting, of_setting in in_settings(cases).items():
                found = [measured(libraries, case, peers, 2 if quick else 3) for case in of_setting]
                judged(found, {f"x_{peer}": least for peer, least in LEAST[setting].items()})
                tables.append({"how": how, "head": SETTINGS[setting], "columns": columns(peers, units), "rows": found})
                rows += found
                how = ()
    return {"title": "Gaussian mixtures", "how": HOW, "tables": tables, "targets": targets(rows)}


def columns(peers, unit):
    main = peers is PEERS
    timed = [((peer, f"{name}, s", "seconds"), (f"x_{peer}", name, unit)) for peer, name in peers.items()]
    return [
        ("case", "rows × columns", "text"), ("ours", "ours, s", "seconds"),
        *(column for pair in timed for column in (pair if main else pair[1:])),
        *([("x_gemm", "over bare", "times")] if main else []), ("matter", "matter", "number"),
        ("agree", "agree", "power"), *([("met", "met", "text")] if main else []),
    ]  # fmt: skip


def measured(libraries, case, peers, repeats):
    """Return the row of one case: a ratio for each of the peers."""
    first = case.iterations[0]
    fitted = {name: libraries.attempt(name, fits.parameters, case, first) for name in ("ours", *peers)}
    able = [name for name, value in fitted.items() if value is not None]
    large = "sklearn" in peers and case.kind == "full" and case.statistics * case.K >= ROOFLINE_FROM
    found = per_iteration(libraries, case, able, repeats, roofline=large)
    row = {
        "case": str(case), "n": case.n, "d": case.d, "K": case.K, "kind": case.kind, "setting": case.setting,
        "ours": seconds(found["ours"]),
    }  # fmt: skip
    for peer in peers:
        row[peer] = seconds(found.get(peer))
        row |= compared(f"x_{peer}", found.get(peer), found["ours"])
    row["gemm"] = seconds(found.get("gemm"))
    row |= compared("x_gemm", found["ours"], found.get("gemm"))
    row["matter"] = libraries.attempt("ours", fits.matter, case, first)
    exact = [name for name in able if name not in INEXACT]
    values = {name: fits.log_likelihood(case, fitted[name]) for name in exact}
    row["log_likelihoods"] = values
    row["agree"] = max(fits.distance(fitted[name], fitted["ours"]) for name in exact)
    row["likelihood"] = max(abs(value - values["ours"]) for value in values.values())
    return row


def per_iteration(libraries, case, names, repeats=3, roofline=False):
    """Return {library: Timing of an iteration}, and that of the bare products if asked for."""
    few, many = case.iterations
    timers = {(name, count): (name, fits.timed, case, count) for name in names for count in (few, many)}
    if roofline:
        timers["gemm"] = ("gemm", fits.gemm_timed, case)
    best = libraries.take_turns(timers, repeats)
    found = {name: Timing.per_step(best[name, few], best[name, many], many - few) for name in names}
    return found | ({"gemm": best["gemm"]} if roofline else {})


def targets(rows):
    goals = []
    for setting in SETTINGS:
        of_setting = [row for row in rows if row["setting"] == setting and "x_sklearn" in row]
        ratios = [row["x_sklearn"] for row in of_setting]
        wanted = MEAN_AGAINST_SKLEARN[setting]
        goals.append(at_least(f"{setting}, scikit-learn: geometric mean of the ratios", geometric_mean(ratios), wanted))
        goals += [
            at_least(
                f"{setting}, {PEERS[peer]}: least ratio of any shape", lowest(r[f"x_{peer}"] for r in of_setting), b
            )
            for peer, b in LEAST[setting].items()
        ]
    over = largest(row["x_gemm"] for row in rows)
    return [
        *goals,
        at_most("our iteration over the bare products, worst shape", over, ROOFLINE),
        at_most("difference of parameters after the same iterations", max(row["agree"] for row in rows), AGREE),
        at_most("difference of their mean log-likelihoods per row", max(row["likelihood"] for row in rows), AGREE),
    ]
