"""Batches in the background: samples are drawn while the network learns from the last ones."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Sequence
from dataclasses import fields

import numpy as np
import torch

from models.train.losses import Batch
from models.train.movie import Movie
from models.train.sample import NONE, Augmentation, Sample, draw
from models.train.settings import TrainSettings
from stream.errors import ConfigError

AHEAD = 3
"""Batches that may wait."""


class Pool:
    """Movies with the share of the samples that each source gives.

    Raises
    ------
    ConfigError
        Nothing is there to learn from, or nothing to choose the stop by: a single image cannot be both.
    """

    def __init__(self, groups: Sequence[tuple[float, Sequence[Movie]]], settings: TrainSettings) -> None:
        self._settings = settings
        self._groups = {
            validation: [(share, _part(movies, validation)) for share, movies in groups] for validation in (False, True)
        }
        for validation, purpose in ((False, "learn from"), (True, "hold out, which chooses the stop")):
            if not any(movies for _, movies in self._groups[validation]):
                count = sum(len(movies) for _, movies in groups)
                raise ConfigError(
                    f"{settings.name}: nothing is left to {purpose}, [[data]] holds {count} movies and images; "
                    "give two images with cells, or a movie, of which a part is held out"
                )

    def batch(self, rng: np.random.Generator, augment: Augmentation, validation: bool = False) -> Batch:
        """Draw one batch."""
        s = self._settings
        groups = [(share, movies) for share, movies in self._groups[validation] if movies]
        shares = np.array([share for share, _ in groups])
        drawn = []
        for _ in range(s.batch):
            _, movies = groups[int(rng.choice(len(groups), p=shares / shares.sum()))]
            movie = movies[int(rng.integers(len(movies)))]
            drawn.append(draw(movie, s.kind, s.object_px, s.side, augment, rng, validation, s.touching, s.hushed))
        return stacked(drawn)


def _part(movies: Sequence[Movie], validation: bool) -> list[Movie]:
    if validation:
        return [movie for movie in movies if movie.validation_from_px < movie.images[0].shape[1]]
    return [movie for movie in movies if movie.validation_from_px > 0]


def stacked(samples: Sequence[Sample]) -> Batch:
    """Return samples as one batch of tensors."""
    return {f.name: torch.from_numpy(np.stack([getattr(s, f.name) for s in samples])) for f in fields(Sample)}


def validation(pool: Pool, settings: TrainSettings) -> list[Batch]:
    """Return the fixed batches that choose the stop: half of the crops show divisions, none is degraded."""
    rng = np.random.default_rng(1_000_003)
    return [pool.batch(rng, NONE, validation=True) for _ in range(settings.validation_batches)]


def training(pool: Pool, settings: TrainSettings, first: int) -> Iterator[Batch]:
    """Yield the batches of steps ``first``, ``first + 1``, …: each depends on the seed and its step alone."""
    ready: queue.Queue[Batch | BaseException] = queue.Queue(AHEAD)
    ended = threading.Event()

    def make() -> None:
        try:
            for step in range(first, settings.steps):
                batch = pool.batch(np.random.default_rng((settings.seed, step)), settings.augment)
                while not ended.is_set():
                    try:
                        ready.put(batch, timeout=0.2)
                        break
                    except queue.Full:
                        continue
                if ended.is_set():
                    return
        except BaseException as error:
            ready.put(error)

    maker = threading.Thread(target=make, name="batches", daemon=True)
    maker.start()
    try:
        for _ in range(first, settings.steps):
            batch = ready.get()
            if isinstance(batch, BaseException):
                raise batch
            yield batch
    finally:
        ended.set()
        maker.join()
