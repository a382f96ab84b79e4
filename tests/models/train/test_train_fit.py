"""Fitting learns, goes on where it was stopped, and refuses another run's checkpoint."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs the extra [train]")

from models.nets.export import export  # noqa: E402
from models.spec import HEADS, Head, NetSpec  # noqa: E402
from models.train.batches import Pool  # noqa: E402
from models.train.fit import CHECKPOINT, LOG, MOST_LOST, Fit  # noqa: E402
from models.train.losses import Batch, lesson, losses, total  # noqa: E402
from models.train.movie import Cohort, Movie  # noqa: E402
from models.train.sample import Augmentation  # noqa: E402
from models.train.settings import Source, TrainSettings  # noqa: E402
from models.train.teachers import Teachers  # noqa: E402
from models.train.weights import load_net  # noqa: E402
from stream.errors import ConfigError, StageError, StoreError  # noqa: E402


def _movie() -> Movie:
    rng = np.random.default_rng(0)
    images, labels, cohorts = [], [], []
    rows, columns = np.mgrid[:128, :160]
    centre = np.array([[30, 30], [30, 90], [80, 40], [90, 100], [60, 140]], np.float32)
    for _ in range(3):
        centre = centre + rng.uniform(-1, 1, centre.shape).astype(np.float32)
        label = np.zeros((128, 160), np.int32)
        for i, (y, x) in enumerate(centre, start=1):
            label[(rows - y) ** 2 + (columns - x) ** 2 < 100] = i
        images.append((100 + 400 * (label > 0) + rng.normal(0, 10, label.shape)).astype(np.uint16))
        labels.append(label)
        cohorts.append(Cohort(np.arange(1, 6, dtype=np.int32), centre, np.ones(5, np.bool_)))
    return Movie("discs", images, labels, labels, cohorts, dict.fromkeys(range(1, 6), (0, 2, 0)), 20.0, 0, 128)


def _settings(**changes: object) -> TrainSettings:
    plain: dict[str, object] = {
        "name": "tiny", "kind": "nuclei", "widths": (8, 16), "steps": 6, "batch": 2, "side": 64, "validate_every": 3,
        "validation_batches": 1, "average": 0.5, "data": (Source(path=Path("discs")),),
    }  # fmt: skip
    return TrainSettings.model_validate({**plain, **changes})


def _fit(settings: TrainSettings, out: Path) -> Fit:
    return Fit(settings, Pool([(1.0, [_movie()])], settings), out)


class Stopped(Exception):
    pass


def test_it_learns(tmp_path: Path) -> None:
    seen: list[float] = []
    settings = _settings(steps=40)
    _fit(settings, tmp_path).run(lambda step, steps, figures: seen.append(figures["total"]))
    assert np.mean(seen[-5:]) < 0.75 * np.mean(seen[:5])


def test_a_stopped_run_ends_as_if_it_had_not_been_stopped(tmp_path: Path) -> None:
    settings = _settings(checkpoint_minutes=1e-9)
    whole = _fit(settings, tmp_path / "whole").run()

    def stop(step: int, steps: int, figures: dict[str, float]) -> None:
        if step == 4:
            raise Stopped

    with pytest.raises(Stopped):
        _fit(settings, tmp_path / "stopped").run(stop)
    resumed = _fit(settings, tmp_path / "stopped").run()
    assert resumed.steps == whole.steps
    assert resumed.best_step == whole.best_step
    for name, value in whole.net.state_dict().items():
        torch.testing.assert_close(resumed.net.state_dict()[name], value, rtol=0, atol=1e-6, msg=name)


def _steps_logged(folder: Path) -> list[int]:
    return [int(row.partition(",")[0]) for row in (folder / LOG).read_text().splitlines()[1:]]


def test_what_is_done_again_is_logged_once(tmp_path: Path) -> None:
    settings = _settings(steps=9)

    def stop(step: int, steps: int, figures: dict[str, float]) -> None:
        if step == 7:
            raise Stopped

    with pytest.raises(Stopped):
        _fit(settings, tmp_path).run(stop)  # no checkpoint yet
    assert _steps_logged(tmp_path) == [3, 6]
    often = _settings(steps=9, checkpoint_minutes=1e-9)
    with pytest.raises(Stopped):
        _fit(often, tmp_path).run(stop)
    assert _steps_logged(tmp_path) == [3, 6]
    log = (tmp_path / LOG).read_bytes()
    (tmp_path / LOG).write_bytes(log + log.splitlines()[2].replace(b"6,", b"9,", 1) + b"\r\n9,torn")
    _fit(often, tmp_path).run()
    assert _steps_logged(tmp_path) == [3, 6, 9]
    assert (tmp_path / LOG).read_bytes().startswith(log)


def test_a_run_that_its_time_ends_has_a_checkpoint_of_its_end(tmp_path: Path) -> None:
    """What is packed takes the best step and its losses from there."""
    fitted = _fit(_settings(steps=40, minutes=1e-9), tmp_path).run()
    state = torch.load(tmp_path / CHECKPOINT, weights_only=True)
    assert fitted.steps == state["step"] == state["best_step"] == 1


def _movie_of_no_numbers() -> Movie:
    movie = _movie()
    return replace(movie, images=[np.full(image.shape, np.nan, np.float32) for image in movie.images])


@pytest.mark.filterwarnings("ignore")  # of numpy about what is no number
def test_a_run_that_diverges_is_stopped_and_keeps_nothing(tmp_path: Path) -> None:
    settings = _settings(steps=40, checkpoint_minutes=1e-9)
    seen: list[int] = []
    fit = Fit(settings, Pool([(1.0, [_movie_of_no_numbers()])], settings), tmp_path)
    with pytest.raises(
        StageError, match="tiny: the loss, or its gradient, is no number since step 1; the run diverged"
    ):
        fit.run(lambda step, steps, figures: seen.append(step))
    assert len(seen) == MOST_LOST - 1
    assert not list(tmp_path.glob("*.pt"))


@pytest.mark.filterwarnings("ignore")
def test_weights_that_were_never_validated_are_no_result(tmp_path: Path) -> None:
    settings = _settings(steps=MOST_LOST - 1)
    fit = Fit(settings, Pool([(1.0, [_movie_of_no_numbers()])], settings), tmp_path)
    with pytest.raises(StageError, match="no loss on what is held out was a number"):
        fit.run()
    assert not (tmp_path / "best.pt").exists()


class _Torn(Pool):
    """Gives a second batch with a pixel that is no number."""

    drawn = 0

    def batch(self, rng: np.random.Generator, augment: Augmentation, validation: bool = False) -> Batch:
        batch = super().batch(rng, augment, validation)
        self.drawn += not validation
        if not validation and self.drawn == 2:
            batch["frames"][0, 1, 20, 20] = np.nan
        return batch


class _Steep(Fit):
    """Has a loss in its second step that is a number, while the gradient is none."""

    def _losses(self, said: tuple[torch.Tensor, torch.Tensor], batch: Batch) -> dict[Head, torch.Tensor]:
        found = super()._losses(said, batch)
        return found | ({"seed": found["seed"] + torch.sqrt(0 * found["seed"])} if self._step == 1 else {})


@pytest.mark.parametrize(("pool", "fit", "finite"), [(_Torn, Fit, False), (Pool, _Steep, True)], ids=["loss", "slope"])
def test_one_step_that_gives_no_number_is_left_out(
    tmp_path: Path, pool: type[Pool], fit: type[Fit], finite: bool
) -> None:
    settings = _settings()
    losses_seen: list[float] = []
    kept: list[dict[str, torch.Tensor]] = []
    run = fit(settings, pool([(1.0, [_movie()])], settings), tmp_path)

    def report(step: int, steps: int, figures: dict[str, float]) -> None:
        losses_seen.append(figures["total"])
        kept.append({name: value.clone() for name, value in run._average.state_dict().items()})

    fitted = run.run(report)
    assert np.isfinite(losses_seen).tolist() == [True, finite, True, True, True, True]
    for name, value in kept[1].items():
        torch.testing.assert_close(value, kept[0][name], rtol=0, atol=0)
    assert any((kept[2][name] != value).any() for name, value in kept[1].items())
    for net in (run._net, run._average, fitted.net):
        assert all(torch.isfinite(value).all() for value in net.state_dict().values())


@pytest.mark.parametrize(("edge_px", "said"), [(0, "to learn from"), (160, "to hold out")])
def test_one_part_of_the_data_alone_is_refused(edge_px: int, said: str) -> None:
    movie = replace(_movie(), validation_from_px=edge_px)
    with pytest.raises(ConfigError, match=f"nothing is left {said}"):
        Pool([(1.0, [movie])], _settings())


def test_what_is_kept_is_what_was_best(tmp_path: Path) -> None:
    fitted = _fit(_settings(), tmp_path).run()
    kept = load_net(tmp_path / "best.pt")
    assert kept.spec == fitted.net.spec
    for name, value in fitted.net.state_dict().items():
        torch.testing.assert_close(kept.state_dict()[name], value)
    assert (tmp_path / "metrics.csv").read_text().startswith("step,minutes,total")


def test_another_runs_checkpoint_is_refused(tmp_path: Path) -> None:
    _fit(_settings(), tmp_path).run()
    with pytest.raises(StoreError, match="other settings"):
        _fit(_settings(seed=1), tmp_path)


@pytest.mark.parametrize("off", ["seed", "own", "previous", "newborn", "dividing"])
def test_every_head_can_be_switched_off(tmp_path: Path, off: Head) -> None:
    heads = tuple(head for head in HEADS if head != off)
    fitted = _fit(_settings(steps=1, validate_every=1, heads=heads), tmp_path).run()
    assert off not in fitted.validation
    assert not any(name.startswith(off) for name in fitted.net.spec.channels)


def _taught(place: Path, taught: float, blind: bool) -> dict[str, torch.Tensor]:
    """Return what is learnt from the teacher in ``place``, from a movie with or without its labels."""
    settings = _settings(seed=1, teachers=(place / "teacher" / "best.pt",), taught=taught, validate_every=2, steps=2)
    movie = _movie()
    if blind:
        none = [np.zeros_like(label) for label in movie.labels]
        movie = replace(movie, labels=none, claims=none)
    fit = Fit(settings, Pool([(1.0, [movie])], settings), place / f"{taught}{blind}")
    return dict(fit.run().net.state_dict())


def test_a_teacher_stands_for_the_truth(tmp_path: Path) -> None:
    _fit(_settings(), tmp_path / "teacher").run()
    for taught, same in ((1.0, True), (0.5, False)):
        seen, blind = (_taught(tmp_path, taught, unseen) for unseen in (False, True))
        assert same == all(torch.allclose(seen[name], blind[name]) for name in seen)


class _Pointer(torch.nn.Module):
    """Says of every pixel how bright it is, and that its centre is as far below and to the right of it."""

    def __init__(self, spec: NetSpec) -> None:
        super().__init__()
        self.spec = spec

    def forward(self, frames: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        shown = frames[:, 1:]
        half = shown[:, :, ::2, ::2]
        return shown, torch.cat([half * (10 if name.endswith(("_y", "_x")) else 1) for name in self.spec.channels], 1)


def test_teachers_see_mirrored_crops_and_what_they_say_is_mirrored_back_and_averaged() -> None:
    spec = NetSpec("tiny", "nuclei", 26.0, (8, 16))
    frames = torch.rand(2, 2, 32, 32).repeat_interleave(2, 2).repeat_interleave(2, 3)

    def told_by(count: int) -> dict[str, torch.Tensor]:
        nets: list[tuple[Path, Any]] = [(Path("best.pt"), _Pointer(spec))] * count
        batch = {"frames": frames, "taught": torch.ones(2, 32, 32)}
        return Teachers(nets, spec, "cpu").lesson(batch, lambda net, batch: net(batch["frames"]))  # type: ignore[arg-type]

    told = told_by(4)
    assert torch.allclose(told["foreground"], torch.sigmoid(frames[:, 1]))
    assert torch.allclose(told["seed"], torch.sigmoid(frames[:, 1, ::2, ::2]))
    # each axis is mirrored for two of four: what points down for two points up for the others
    assert float(told["own"].abs().max()) < 1e-4
    assert torch.allclose(told_by(1)["own"][:, 0], 10 * frames[:, 1, ::2, ::2])


def test_what_a_network_says_itself_teaches_it_nothing() -> None:
    spec = NetSpec("tiny", "nuclei", 26.0, (8, 16))
    foreground = 40 * torch.round(torch.rand(1, 1, 32, 32)) - 20
    maps = 40 * torch.round(torch.rand(1, len(spec.channels), 16, 16)) - 20
    found = losses(spec, foreground, maps, lesson(spec, foreground, maps, torch.ones(1, 16, 16)))
    assert float(total(found)) < 1e-3


def test_where_a_teacher_is_hushed_it_speaks_of_foreground_alone() -> None:
    spec = NetSpec("tiny", "nuclei", 26.0, (8, 16))
    foreground, maps = torch.full((1, 1, 32, 32), 20.0), torch.zeros(1, len(spec.channels), 16, 16)
    taught = torch.ones(1, 16, 16)
    taught[..., :8] = 0
    other = maps.clone()
    other[..., :8] = 9.0
    agreed = losses(spec, foreground, maps, lesson(spec, foreground, maps, taught))
    found = losses(spec, foreground, other, lesson(spec, foreground, maps, taught))
    assert all(torch.equal(value, agreed[head]) for head, value in found.items())
    heard = losses(spec, foreground, other, lesson(spec, foreground, maps, torch.ones(1, 16, 16)))
    assert all(heard[head] > agreed[head] for head in heard if head != "foreground")
    dark = losses(spec, -foreground, maps, lesson(spec, foreground, maps, taught))
    assert dark["foreground"] > agreed["foreground"]


def test_a_teacher_that_sees_other_pictures_is_refused(tmp_path: Path) -> None:
    _fit(_settings(steps=1, validate_every=1), tmp_path / "teacher").run()
    with pytest.raises(StoreError, match="cannot teach"):
        _fit(_settings(kind="phase", teachers=("teacher/best.pt",)), tmp_path / "out")


def test_weights_of_another_shape_are_no_start(tmp_path: Path) -> None:
    _fit(_settings(steps=1, validate_every=1), tmp_path / "first").run()
    with pytest.raises(StoreError, match="its heads differ"):
        _fit(_settings(heads=("foreground", "seed", "own"), start="first/best.pt"), tmp_path / "out")


def test_a_wider_network_goes_on_with_what_the_narrower_one_says(tmp_path: Path) -> None:
    plain = _fit(_settings(steps=1, validate_every=1), tmp_path / "first").run().net.eval()
    wide = _fit(_settings(steps=1, widths=(16, 24), start="first/best.pt"), tmp_path / "out")._net.eval()
    seen = torch.rand(2, 2, 64, 64), torch.zeros(2, 2), torch.ones(2, 2)
    for mine, earlier in zip(wide(*seen), plain(*seen), strict=True):
        torch.testing.assert_close(mine, earlier, rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings("ignore")  # of torch's exporter about itself
def test_a_run_goes_on_from_an_exported_network(tmp_path: Path) -> None:
    plain = _fit(_settings(steps=3), tmp_path / "first").run().net.eval()
    export(plain, tmp_path / "first" / "tiny.onnx")
    settings = _settings(start="first/tiny.onnx", teachers=("first/tiny.onnx",), learning_rate=1e-3, steps=2)
    fit = _fit(settings, tmp_path / "out")
    seen = torch.rand(2, 2, 64, 64), torch.zeros(2, 2), torch.ones(2, 2)
    for mine, earlier in zip(fit._net.eval()(*seen), plain(*seen), strict=True):
        torch.testing.assert_close(mine, earlier, rtol=1e-3, atol=1e-4)
    assert fit.run().steps == 2


def test_what_a_wider_network_has_more_learns(tmp_path: Path) -> None:
    _fit(_settings(steps=1, validate_every=1), tmp_path / "first").run()
    fit = _fit(_settings(steps=3, widths=(16, 24), start="first/best.pt"), tmp_path / "out")
    before = fit._net.maps.weight.detach()[:, 8:].clone()
    fit.run()
    assert not before.any()
    assert fit._net.maps.weight.detach()[:, 8:].abs().amax(dim=(0, 2, 3)).min() > 0


def test_a_narrower_network_cannot_go_on(tmp_path: Path) -> None:
    _fit(_settings(steps=1, validate_every=1), tmp_path / "first").run()
    with pytest.raises(StoreError, match="no wider than"):
        _fit(_settings(widths=(8, 8), start="first/best.pt"), tmp_path / "out")


def test_one_frame_is_enough_for_a_network_that_ignores_the_other(tmp_path: Path) -> None:
    net = _fit(_settings(steps=1, validate_every=1, input_frames=1), tmp_path).run().net.eval()
    frames = torch.rand(1, 2, 32, 32)
    other = frames.clone()
    other[:, 0] = torch.rand(32, 32)
    levels = torch.zeros(1, 2), torch.ones(1, 2)
    torch.testing.assert_close(net(frames, *levels)[0], net(other, *levels)[0])


def test_a_perfect_answer_costs_next_to_nothing() -> None:
    spec = NetSpec("tiny", "nuclei", 26.0, (8, 16))
    settings = _settings()
    batch = Pool([(1.0, [_movie()])], settings).batch(np.random.default_rng(0), settings.augment)
    sure = 20 * (2 * batch["foreground"][:, None] - 1)
    planes = {
        "seed": torch.logit(batch["seed"], 1e-6),
        "newborn": 20 * (2 * batch["newborn"] - 1), "dividing": 20 * (2 * batch["dividing"] - 1),
        **{f"own_{axis}": batch["own"][:, i] for i, axis in enumerate("yx")},
        **{f"previous_{axis}": batch["previous"][:, i] for i, axis in enumerate("yx")},
    }  # fmt: skip
    maps = torch.stack([planes[name] for name in spec.channels], 1)
    found = losses(spec, sure, maps, batch)
    assert set(found) == set(HEADS)
    for head in ("foreground", "own", "previous", "newborn", "dividing"):
        assert found[head].item() < 1e-3, head
    wrong = losses(spec, -sure, maps, batch)
    assert total(wrong) > total(found) + 1
