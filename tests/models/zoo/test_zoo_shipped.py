"""The weights that ship are those that their cards describe, and compute what is stored beside them."""

from __future__ import annotations

import numpy as np
import pytest

from models import zoo
from models.zoo import stored
from models.zoo.card import sha256
from models.zoo.check import check
from models.zoo.scene import LOOKS, scene


@pytest.mark.parametrize("name", zoo.names())
def test_a_shipped_network_is_what_its_card_says_and_computes_what_is_stored(name: str) -> None:
    model = zoo.path(name)
    assert zoo.card(name).sha256 == {file.name: sha256(file) for file in (model, zoo.half(model))}
    assert check(name, runtimes=("openvino", "onnxruntime"), compile_rtx=False)["failures"] == []


@pytest.mark.parametrize("name", zoo.names(zoo.CELLS))
def test_a_card_shows_its_diagrams(name: str) -> None:
    card, words = zoo.card(name), (zoo.HERE / f"{name}.md").read_text("utf-8")
    for picture in (card.calibration, card.ends):
        assert f"]({picture})" in words
        assert (zoo.HERE / picture).read_bytes().startswith(b"\x89PNG")
    assert words == card.in_words()


@pytest.mark.parametrize("name", zoo.names())
def test_what_is_stored_was_drawn_not_recorded(name: str) -> None:
    """No crop of a recording is passed on, whatever the network learnt from."""
    inputs, _ = stored.read(zoo.stored_check(zoo.path(name)))
    drawn = stored.drawn_inputs(zoo.path(name))
    assert list(inputs) == list(drawn)
    for given in inputs:
        np.testing.assert_allclose(inputs[given], drawn[given], atol=1e-4, err_msg=given)


def test_the_noise_of_what_a_denoiser_is_shown_is_one() -> None:
    look = LOOKS["nuclei"]
    frames = 2 * np.sqrt(scene("nuclei", 96, object_px=26.0, seed=7, frames=3) / look.gain + 0.375)
    dark = frames.mean(0) < 2 * np.sqrt(1.05 * look.background / look.gain + 0.375)
    assert np.diff(frames, axis=0)[:, dark].std() == pytest.approx(np.sqrt(2), rel=0.1)


def test_a_scene_of_more_frames_moves_on() -> None:
    third = scene("nuclei", 96, object_px=26.0, frames=3)[2]
    far, near = (np.abs(scene("nuclei", 96, object_px=26.0, frames=3)[k] - third).mean() for k in (0, 1))
    assert far > 1.2 * near
