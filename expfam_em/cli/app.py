"""The entry of the command line: errors become one sentence and an exit code."""

from __future__ import annotations

import csv
import os
import sys
from contextlib import suppress
from typing import NoReturn


def _stop(sentence: str, code: int) -> NoReturn:
    print("error:", " ".join(str(sentence).split()), file=sys.stderr)
    raise SystemExit(code)


def main() -> None:
    """Run the command line: exit code 0, 1 for bad input, 2 for a command that cannot be understood."""
    try:
        import typer
    except ImportError:
        _stop('the command line needs typer: pip install "expfam_em[cli]"', 2)
    from expfam_em.cli.commands import app

    try:
        code = app(prog_name="expfam-em", standalone_mode=False)
        if sys.stdout is not None:
            sys.stdout.flush()  # here, where an error has a sentence, not as the interpreter ends
    except typer.Abort:
        _stop("stopped", 1)
    except OSError as error:
        if error.filename is None:
            with suppress(AttributeError, OSError):  # what is left would fail again as the interpreter ends
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            raise SystemExit(1) from None  # as of `| head -1`, which has what it wants
        _stop(f"{error.filename or 'writing'}: {error.strerror or error}", 1)
    except (ValueError, ImportError, NotImplementedError, MemoryError, csv.Error) as error:
        _stop(str(error) or type(error).__name__, 1)
    except Exception as error:
        # the base class of what typer raises about its arguments is not exported by every version
        if not hasattr(error, "format_message"):
            raise
        if not (sentence := error.format_message()):
            raise SystemExit(2) from None  # the help was printed instead
        _stop(sentence, 1 if type(error) is typer.BadParameter else 2)
    if not sys.argv[1:]:
        code = 2  # which older versions of click do not return with the help
    raise SystemExit(code if isinstance(code, int) else 0)
