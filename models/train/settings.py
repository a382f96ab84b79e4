"""What a training run is told: a TOML file, checked."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from pydantic import Field

from models.spec import HEADS, MULTIPLE, Head, NetSpec
from models.train.sample import Augmentation
from stream.cells import Kind
from stream.errors import SourceError
from stream.settings import Settings


class Source(Settings):
    """``[[data]]``: one source of truth."""

    path: Path
    """A sequence folder (``NN`` beside ``NN_GT``) or a folder with ``images`` and ``labels`` (TIFF or PNG, the same
    names; see :func:`models.train.pairs.read_pairs`); relative to ``$CYTOLOOP_DATA``, or to ``simulated`` beside the
    output where ``simulate`` is given."""
    simulate: Path | None = None
    """A configuration of the virtual microscope, beside the training file: the movie is made when it is absent."""
    frames: int = Field(default=80, ge=2)
    simulate_seed: int = Field(default=0, ge=0)
    share: float = Field(default=1.0, gt=0)
    """How often crops are drawn from here, relative to the other sources."""
    border_px: int = Field(default=25, ge=0)
    """Edge in which unlabelled pixels may be cells."""
    terms: str = ""
    """Under which the data may be used; goes into the model card."""


class TrainSettings(Settings):
    """A training run."""

    name: str
    kind: Kind
    fast: bool = False
    seed: int = 0
    object_px: float = Field(default=26.0, gt=6)
    widths: tuple[int, ...] = (16, 48, 96, 144)
    stride: Literal[2, 4] = 2
    heads: tuple[Head, ...] = HEADS
    input_frames: Literal[1, 2] = 2
    knee: float = Field(default=0.2, gt=0)
    steps: int = Field(default=1500, ge=1)
    minutes: float = Field(default=100.0, gt=0)
    """The run ends after so long, where its steps take longer. The learning rate falls by whichever is further on, the
    clock or the steps, so a run that ends early has been through its whole schedule."""
    batch: int = Field(default=8, ge=1)
    side: int = Field(default=256, multiple_of=MULTIPLE)
    learning_rate: float = Field(default=3e-3, gt=0)
    weight_decay: float = Field(default=1e-2, ge=0)
    start: Path | None = None
    """``best.pt`` or the ``.onnx`` of an earlier run of the same shape or a narrower one, to go on from; relative to
    the folder that ``--out`` lies in. A shipped network is such a file, too."""
    teachers: tuple[Path, ...] = ()
    """``best.pt`` or ``.onnx`` of networks whose words are learned beside the truth, found as ``start`` is. What they
    say is averaged; each sees the crops mirrored in another way."""
    taught: float = Field(default=0.5, ge=0, le=1)
    """Share of the loss that compares with the teachers instead of the truth."""
    weights: dict[Head, float] = Field(default_factory=dict)
    """What the loss of a head counts, where it is not the default; 0 switches it off."""
    per_positive: bool = True
    """Whether the loss of the division heads is a mean over their few positive pixels or over all cells."""
    touching: float = Field(default=0.0, ge=0)
    """Weight that a pixel's offsets gain where cells touch."""
    claimed: float = Field(default=0.0, ge=0, le=1)
    """How far a cell that only has a marker claims the unlabelled pixels around it for its votes, in diameters of the
    typical cell; 0: only the marker votes."""
    hushed: bool = False
    """Whether teachers say nothing of centres and divisions where the truth knows better: around cells that only have a
    marker (young sisters that touch are one cell to a network that missed them), and in crops that show cells larger
    than teachers learned (:data:`models.train.sample.HEARD_ZOOM`)."""
    average: float = Field(default=0.995, ge=0, lt=1)
    """Decay of the running average of the weights; the average is what is kept."""
    validate_every: int = Field(default=100, ge=1)
    validation_batches: int = Field(default=4, ge=1)
    checkpoint_minutes: float = Field(default=5.0, gt=0)
    data: tuple[Source, ...]
    augment: Augmentation = Augmentation()

    @property
    def spec(self) -> NetSpec:
        """The network to train."""
        return NetSpec(
            self.name, self.kind, self.object_px, self.widths, self.heads, self.input_frames, self.stride, self.fast,
            self.knee,
        )  # fmt: skip


def data_root() -> Path:
    """Return the folder of the recordings. Raises SourceError when there is none."""
    said = os.environ.get("CYTOLOOP_DATA")
    root = Path(said) if said else Path(__file__).parents[3] / "shared" / "data"
    if not root.is_dir():
        raise SourceError(f"{root}: no recordings; set CYTOLOOP_DATA to the folder that holds them")
    return root
