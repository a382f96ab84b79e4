"""A model card: where a network comes from, how well it does, what it is not for; as JSON and as Markdown."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from stream.errors import StageError
from stream.settings import Settings

Figure = Mapping[str, str | int | float | None]
"""One row: ``sequence``, ``role`` and the figures by name; None where the truth for it is not there."""
_LEAD = ("sequence", "role")
_PLACES = 3


class Data(Settings):
    """A set that the network learnt from or was chosen on."""

    name: str
    terms: str
    use: str
    """What it was used for: training, validation, or both with the split."""


class Training(Settings):
    """How long it learnt, and what chose the moment to stop."""

    steps: int
    minutes: float
    validation: str
    """Which part was held out and what was reached on it, in words."""


class Card(Settings):
    """What is known about one shipped network; written by :func:`models.zoo.pack.pack`."""

    schema_number: Literal[1] = 1
    name: str
    kind: str
    """``nuclei``, ``phase`` or ``denoise``."""
    speed: Literal["quality", "fast"]
    object_px: float | None = None
    """Median diameter that cells should have in its input; None for a network that does not care."""
    parameters: int
    sha256: Mapping[str, str]
    """Hash of each file, by its name."""
    data: tuple[Data, ...]
    terms: str
    """Under which the weights may be used."""
    seed: int
    command: str
    """Makes the network again."""
    training: Training
    figures: tuple[Figure, ...] = ()
    calibration: str = ""
    """File of the reliability diagram beside the card; empty: none was drawn."""
    ends: str = ""
    """The same of deaths and exits of simulated cells."""
    failures: tuple[str, ...]
    """What is known to go wrong."""
    intended_use: str

    @classmethod
    def read(cls, path: Path) -> Card:
        """Read a card. Raises StageError when it is missing or cannot be understood."""
        try:
            return cls.model_validate_json(path.read_bytes())
        except OSError as error:
            raise StageError(f"{path}: there is no card: {error.strerror or error}") from error
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "the whole"
            raise StageError(f"{path}: not a model card: {where}: {first['msg']}") from error

    def write(self, folder: Path) -> None:
        """Write ``NAME.json`` and ``NAME.md``."""
        text = json.dumps(self.model_dump(mode="json"), indent=1, ensure_ascii=False)
        (folder / f"{self.name}.json").write_text(text + "\n", "utf-8")
        (folder / f"{self.name}.md").write_text(self.in_words(), "utf-8")

    def in_words(self) -> str:
        """Return the card as Markdown."""
        size = f", cells of about {self.object_px:g} px in its input" if self.object_px else ""
        parts = [
            f"# {self.name}",
            f"Kind {self.kind}, {self.speed}; {self.parameters:,} parameters{size}.",
            f"**Intended use.** {self.intended_use}",
            "**Known failures.**" + ("" if self.failures else " None is known.") + _points(self.failures),
            f"**Terms of the weights.** {self.terms}",
            "## Data\n\n" + _table([one.model_dump() for one in self.data], ("name", "terms", "use")),
            f"## Training\n\n`{self.command}`\n\nSeed {self.seed}, {self.training.steps:,} steps, "
            f"{self.training.minutes:.0f} minutes. {self.training.validation}",
            "## Figures\n\n" + (figures_table(self.figures) if self.figures else "Not measured yet."),
        ]
        if self.calibration:
            parts.append(f"![Confidence against what came true]({self.calibration})")
        if self.ends:
            parts.append(
                f"Deaths and exits, of simulated cells only:\n\n![Confidence against what came true]({self.ends})"
            )
        parts.append("## Files\n\n" + _table([{"file": k, "sha256": v} for k, v in sorted(self.sha256.items())]))
        return "\n\n".join(parts) + "\n"


def sha256(path: Path) -> str:
    """Return the hash of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def figures_table(figures: Sequence[Figure]) -> str:
    """Return rows of figures as a Markdown table: sequence and role first, then every figure that any row has."""
    columns = list(dict.fromkeys([*_LEAD, *(key for row in figures for key in row)]))
    return _table(figures, columns)


def _table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str] = ("file", "sha256")) -> str:
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    lines += ["| " + " | ".join(_cell(row.get(column)) for column in columns) + " |" for row in rows]
    return "\n".join(lines)


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.{_PLACES}f}"
    return "" if value is None else str(value).replace("|", "\\|")


def _points(lines: Sequence[str]) -> str:
    return "".join(f"\n- {line}" for line in lines)
