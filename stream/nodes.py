"""The composition root: builds each node from the configuration and runs it, in a process of its own or alone."""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import signal
import sys
import threading
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stream.config import Configuration
from stream.errors import ConfigError, CytoloopError, DriverError, PolicyError
from stream.supervisor import CONFIG_EXIT
from stream.surroundings import Surroundings, asked_to_end

if TYPE_CHECKING:
    from stream.score.ctc_writer import ResultWriter

log = logging.getLogger(__name__)

NAMES = ("acquire", "analyse", "watch")
_EXTRA_OF = {"analyse": "cpu", "watch": "watch"}


def run_node(name: str, config: Configuration, run_dir: Path, base: Path, reports: Connection) -> None:
    """Run one node as a supervised process; the exit status says how it ended."""
    stop = threading.Event()
    heed_signals(stop)
    _end_with_parent(stop)
    log_to(run_dir, name)
    os.environ.setdefault("OPENCV_FOR_THREADS_NUM", "1")  # stages run side by side; more threads would only take turns

    def report(word: str, detail: Any) -> None:
        try:
            reports.send_bytes(json.dumps([word, detail]).encode())
        except OSError:
            stop.set()  # nobody is left to listen

    sys.exit(run_here(name, config, Surroundings(run_dir, report, stop, base)))


def heed_signals(stop: threading.Event) -> None:
    """Let a node end in order, and its light close, when it is told to end or its terminal goes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the supervisor's: it stops the rig by message
    for number in asked_to_end():
        signal.signal(number, lambda *_: stop.set())


def run_here(name: str, config: Configuration, around: Surroundings) -> int:
    """Run one node in this process and return its exit status."""
    try:
        _run(name, config, around)
    except (ConfigError, DriverError, PolicyError) as error:
        log.error("%s", error)
        around.report("error", str(error))
        return CONFIG_EXIT
    except ModuleNotFoundError as error:
        said = f"{error}; pip install 'cytoloop[{_EXTRA_OF.get(name, 'cpu')}]'"
        log.error("%s", said)
        around.report("error", said)
        return CONFIG_EXIT
    except CytoloopError as error:
        log.exception("%s ended", name)
        around.report("error", str(error))
        return 1
    return 0


def log_to(run_dir: Path, name: str) -> None:
    """Log to the run folder; warnings also to stderr. Where the disk has no room, to stderr alone."""
    form = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
    screen = logging.StreamHandler()
    screen.setLevel(logging.WARNING)
    handlers: list[logging.Handler] = [screen]
    with suppress(OSError):  # what needs the disk for more than its log says that it is full
        handlers.append(_LogFile(run_dir / "logs" / f"{name}.log"))
    for handler in handlers:
        handler.setFormatter(form)
    logging.basicConfig(level=logging.INFO, handlers=handlers, force=True)


class _LogFile(logging.FileHandler):
    """A log that leaves out what a full disk does not take; by default each such line costs a traceback on stderr."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        super().__init__(path, encoding="utf-8")

    def handleError(self, record: logging.LogRecord) -> None:
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)


def _run(name: str, config: Configuration, around: Surroundings) -> None:
    """Import a node only when it is the one to run: the rig never loads what the analysis needs."""
    if name == "acquire":
        from stream.acquire import node as acquire

        acquire.run(config, around)
    elif name == "analyse":
        from stream.analyse import node as analyse
        from stream.feedback.load import load_policy
        from stream.feedback.runner import PolicyRunner

        policies = [load_policy(spec, around.base) for spec in config.feedback.policies]
        analyse.run(
            config,
            around,
            lambda on_dropped: PolicyRunner(policies, config.feedback.budget_ms, on_dropped=on_dropped),
            _result_writer,
        )
    elif name == "watch":
        from stream.watch import node as watch

        watch.run(config, around)
    else:
        raise ConfigError(f"no node is called '{name}'; known: {', '.join(NAMES)}")


def _result_writer(folder: Path) -> ResultWriter:
    from stream.score.ctc_writer import ResultWriter

    return ResultWriter(folder)


def _end_with_parent(stop: threading.Event) -> None:
    """Stop when the supervisor is gone: a camera must not go on exposing for nobody."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        parent.join()
        stop.set()

    threading.Thread(target=watch, name="parent", daemon=True).start()
