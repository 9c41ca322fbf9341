"""The benchmarks: ``make bench`` runs all, ``run.py --only gaussian,kmeans`` some, ``run.py --quick`` a small check."""

import argparse
import importlib
import os
import sys
import time
import traceback
from pathlib import Path

THREADS = str(min(2, os.cpu_count() or 1))
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS"):
    os.environ[variable] = THREADS  # before any library is loaded, in this process and in those it starts
HOLDS_BACK = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
UNSET = [variable for variable in HOLDS_BACK if os.environ.pop(variable, None)]  # they choose slower kernels

SECTIONS = (
    "gaussian", "curves", "bernoulli", "kmeans", "small", "calls", "own", "busy", "cold", "restarts", "memory",
    "sparse", "duplicates", "accuracy", "bits",
)  # fmt: skip
QUICK = ("gaussian", "bernoulli", "kmeans", "small", "accuracy", "bits")
FOLDER = Path(__file__).resolve().parent


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", metavar="SECTIONS", help=f"some of {','.join(SECTIONS)}, merged into results.json")
    parser.add_argument("--quick", action="store_true", help="small sizes; fails below half of a target")
    parser.add_argument("--report", action="store_true", help="write the page and the plots again, measure nothing")
    options = parser.parse_args()
    wanted = options.only.split(",") if options.only else QUICK if options.quick else SECTIONS
    if unknown := set(wanted) - set(SECTIONS):
        parser.error(f"no section {', '.join(sorted(unknown))}; there are {', '.join(SECTIONS)}")
    return options, () if options.report else wanted


def measured(name, quick):
    """Return the result of a section, with when and on what it was measured."""
    from harness import machine, report

    print(f"\n{name} ...", file=sys.stderr, flush=True)
    before, watch, start = machine.state(), machine.Watch(), time.perf_counter()
    result = importlib.import_module(f"sections.{name}").run(quick)
    duration = time.perf_counter() - start
    result |= before | {"duration": duration, "busy_during": watch.busy_share(), "unset": UNSET}
    print(report.section(result), flush=True)
    return result


def main():
    options, wanted = arguments()
    from harness import plots, report, store

    if UNSET:
        print(
            f"{' and '.join(UNSET)} unset: {'they hold' if len(UNSET) > 1 else 'it holds'} BLAS back", file=sys.stderr
        )

    if options.quick:
        results = {name: measured(name, quick=True) for name in wanted}
        too_slow = [target for result in results.values() for target in store.below_half(result)]
        print("\n".join(f"below half of its target: {target['what']}: {target['value']}" for target in too_slow))
        sys.exit(1 if too_slow else 0)
    results = store.load(FOLDER)
    failed = []
    for name in wanted:
        results.pop(name, None)
        try:
            results[name] = measured(name, quick=False)
        except Exception:
            traceback.print_exc()
            failed.append(name)
        results = {name: results[name] for name in SECTIONS if name in results}
        store.save(FOLDER, results)
    pictures = plots.draw(FOLDER, results)
    (FOLDER / "README.md").write_text(report.page(results, pictures, FOLDER / "notes.md"), encoding="utf-8")
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
