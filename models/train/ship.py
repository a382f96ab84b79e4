"""From a finished training folder to a shipped network: its card says what the folder knows about itself."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from models.train.fit import CHECKPOINT
from models.train.settings import Source, TrainSettings
from models.zoo import HERE
from models.zoo.card import Card, Data, Training
from models.zoo.pack import pack, read_checkpoint
from stream.cells import Kind
from stream.errors import StageError

BEST = "best.pt"
CHALLENGE = "Cell Tracking Challenge"
CHALLENGE_TERMS = (
    f"Learnt from recordings of the {CHALLENGE}, whose terms apply: cite the challenge; the recordings themselves are "
    "not part of cytoloop and may not be passed on."
)
OPEN_TERMS = "BSD-3-Clause, as cytoloop; learnt only from simulated, CC0 and MIT data."
INTENDED_USE: dict[Kind, str] = {
    "nuclei": "Finding, following and seeing the division of fluorescent nuclei (bright on dark, one channel, one "
    "plane) in time-lapse recordings, live. For research; not for diagnosis.",
    "phase": "Finding, following and seeing the division of compact cells in phase contrast in time-lapse recordings, "
    "live. For research; not for diagnosis.",
}
FAILURES: dict[Kind, tuple[str, ...]] = {
    "nuclei": (
        "With little light cells are missed: see the rows by photons.",
        "Whole-cell and membrane stains, tissue sections in colour, DIC and bright field were never shown.",
        "Nuclei that lie over each other are one or two by chance.",
        "Confidences of divisions were fitted to few recordings: see the calibration plot.",
    ),
    "phase": (
        "Cells that touch around mitosis are sometimes one object for a frame.",
        "Few recordings of one cell line were shown: other cells and other halos may need training of their own.",
        "DIC and bright field were never shown.",
        "Confidences of divisions were fitted to few recordings: see the calibration plot.",
    ),
}


def ship(
    folder: Path, *, intended_use: str = "", failures: Sequence[str] = (), terms: str = "", into: Path = HERE
) -> Card:
    """Pack the network that a training run kept, with what is known of the run.

    Parameters
    ----------
    folder
        The run's ``--out``: ``best.pt`` and ``checkpoint.pt``.
    intended_use, failures, terms
        Empty: what is said of every network of this kind and these data.

    Raises
    ------
    StageError
        The folder holds no finished run, or the network cannot ship.
    """
    settings, state = _run(folder / CHECKPOINT)
    held = ", ".join(f"{name} {value:.3f}" for name, value in state["best_figures"].items())
    bound = any(CHALLENGE in source.terms for source in settings.data)
    return pack(
        read_checkpoint(folder / BEST),
        data=[_data(source, settings) for source in settings.data],
        terms=terms or (CHALLENGE_TERMS if bound else OPEN_TERMS),
        seed=settings.seed,
        command=f"cytoloop models train models/train/configs/{settings.name}.toml --out training/{settings.name}",
        training=Training(
            steps=int(state["step"]),
            minutes=float(state["spent_s"]) / 60,
            validation=f"A fifth was held out: the right edge of each movie, and images by a hash of their names. The "
            f"weights are those after step {state['best_step']}, the best there (losses: {held})." + _earlier(settings),
        ),
        failures=tuple(failures) or FAILURES[settings.kind],
        intended_use=intended_use or INTENDED_USE[settings.kind],
        folder=into,
    )


def _run(path: Path) -> tuple[TrainSettings, dict[str, Any]]:
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        return TrainSettings.model_validate_json(state["settings"]), state
    except OSError as error:
        raise StageError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (RuntimeError, KeyError, ValueError, TypeError, EOFError, pickle.UnpicklingError) as error:
        raise StageError(f"{path}: no checkpoint of a training run of this version ({type(error).__name__})") from error


def _earlier(settings: TrainSettings) -> str:
    """Say which earlier runs this one builds upon."""
    said = f" The run went on from the weights of {settings.start.parent.name}." if settings.start else ""
    if settings.teachers:
        names = " and ".join(path.parent.name for path in settings.teachers)
        where = ", except of centres and divisions where the truth knows better" if settings.hushed else ""
        said += f" {settings.taught:.0%} of the loss compares with what is said by {names}{where}."
    return said


def _data(source: Source, settings: TrainSettings) -> Data:
    share = source.share / sum(one.share for one in settings.data)
    made = f" ({source.simulate}, {source.frames} frames, seed {source.simulate_seed})" if source.simulate else ""
    return Data(
        name=source.path.as_posix() + made,
        terms=source.terms or "not stated",
        use=f"training, {share:.0%} of the crops; a fifth held out to choose the stop",
    )
