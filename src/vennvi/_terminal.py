"""What commands say, results to standard output and the rest to standard error, and how they end."""

from __future__ import annotations

import dis
import logging
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import typer
from rich.console import Console
from rich.markup import escape

#: Exit statuses of what a signal ended: 128 and its number, as of a shell.
INTERRUPTED, TERMINATED = 128 + signal.SIGINT, 128 + signal.SIGTERM
#: Errors of reading and writing files, and of a package that is not there.
SYSTEM = (ImportError, OSError)


def say(text: str) -> None:
    """A line of a result, as it is: paths keep their brackets, and are not broken."""
    Console().print(text, markup=False, highlight=False, soft_wrap=True)


def complain(text: str) -> None:
    """What is wrong, to standard error, where a pipeline looks for it."""
    Console(stderr=True).print(f"[red]Error:[/red] {escape(text)}", highlight=False, soft_wrap=True)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the libraries' chatter out of a terminal: what is vennvi's to say remains, in plain lines to standard error."""
    others = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric", "scvi")]
    ours = logging.getLogger("scvi.vennvi")
    before = [(logger, logger.level, logger.handlers, logger.propagate) for logger in (*others, ours)]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=FutureWarning)
        warnings.filterwarnings("ignore", message=".*LeafSpec.*")
        for logger in others:
            logger.setLevel(logging.ERROR)
        ours.setLevel(logging.INFO)
        ours.handlers = [logging.StreamHandler(sys.stderr)]
        ours.propagate = False  # scvi-tools' handler colours what goes into a file, too
        try:
            yield
        finally:
            for logger, level, handlers, propagate in before:
                logger.setLevel(level)
                logger.handlers, logger.propagate = handlers, propagate


@contextmanager
def session(*, chatter: bool = False) -> Iterator[None]:
    """Decorate a command: what a signal ends cleans up after itself, says so, and ends with the status of that signal.

    Parameters
    ----------
    chatter
        Whether the libraries may say what they like.

    Raises
    ------
    typer.Exit
        In place of the interruption or termination.
    """
    in_charge = threading.current_thread() is threading.main_thread()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    if in_charge:
        signal.signal(signal.SIGTERM, _terminate)
    try:
        with nullcontext() if chatter else quiet():
            yield
    except KeyboardInterrupt:
        _end(INTERRUPTED)
    except SystemExit as error:
        if isinstance(error.__context__, KeyboardInterrupt):  # what Lightning makes of one
            _end(INTERRUPTED)
        if error.code == TERMINATED:
            _end(TERMINATED)
        raise
    finally:
        for number, handler in before.items() if in_charge else ():
            signal.signal(number, handler or signal.SIG_DFL)


def _terminate(*_) -> None:
    raise SystemExit(TERMINATED)


def _end(status: int) -> None:
    Console(stderr=True).print("Interrupted." if status == INTERRUPTED else "Terminated.")
    raise typer.Exit(status) from None


@contextmanager
def explained(*more: type[Exception], of: str = "") -> Iterator[None]:
    """What is wrong with the input, which the message names, is said without a traceback; the exit status is 2.

    That is what vennvi or scvi-tools ``raise``. What another library raises, or a slip of their own such as a key that is
    not there, is a bug, whose traceback is shown.

    Parameters
    ----------
    *more
        Further kinds of errors that are the input's, whoever raises them: :data:`SYSTEM` where files are read or written.
    of
        What the message begins with, such as the file that is read.

    Raises
    ------
    typer.Exit
        In place of what was wrong with the input.
    """
    try:
        yield
    except more as error:
        _explain(error, of)
    except (KeyError, TypeError, ValueError) as error:
        if not _is_said(error):
            raise
        _explain(error, of)


def _explain(error: BaseException, of: str) -> None:
    complain(of + (str(error) if isinstance(error, OSError) or not error.args else str(error.args[0])))
    raise typer.Exit(2) from None


def _is_said(error: BaseException) -> bool:
    """Whether vennvi or scvi-tools raised it on purpose, by ``raise``."""
    trace = error.__traceback__
    if trace is None:
        return False
    while trace.tb_next is not None:
        trace = trace.tb_next
    frame = trace.tb_frame
    by_raise = frame.f_code.co_code[trace.tb_lasti] == dis.opmap["RAISE_VARARGS"]
    return by_raise and frame.f_globals.get("__name__", "").partition(".")[0] in ("vennvi", "scvi")
