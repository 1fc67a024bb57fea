"""Landmarks: drawn from what the network finds, kept in its checkpoint, read back without torch."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from dcsearch.checkpoint.checkpoint import load_checkpoint, save_checkpoint
from dcsearch.checkpoint.header import read_header
from dcsearch.data.regions import AnnotatedPhoto
from dcsearch.errors import CheckpointError, DataError
from dcsearch.model.fcln import FCLN
from dcsearch.model.network import make_network
from dcsearch.scoring.numpy_engine import NumpyLanguage
from dcsearch.training.landmarks import keep_landmarks, sample_landmarks
from dcsearch.training.loop import train
from dcsearch.training.options import RefiningOptions
from dcsearch.training.photos import cut
from dcsearch.training.refine import refine
from dcsearch.training.start import new_objective
from dcsearch.vocabulary import Vocabulary
from tests.conftest import WORDS, tiny_config, tiny_model
from tests.training_fixtures import one_step


def save(path: Path, model: FCLN) -> Path:
    save_checkpoint(path, model, Vocabulary(WORDS), name="tiny", provenance={})
    return path


def test_landmarks_are_eight_regions_of_a_photo_as_the_network_finds_them(
    drawn_photos: list[AnnotatedPhoto],
) -> None:
    model = tiny_model()
    landmarks = sample_landmarks(model, drawn_photos)
    assert landmarks.shape == (4 * 8, tiny_config().language.encoded_size)
    found = set()
    for photo in drawn_photos:
        size = model.config.features.photo_size(photo.width, photo.height)
        seen = cut(photo, (0, 0, photo.width, photo.height), *size)
        pixels = torch.from_numpy(np.ascontiguousarray(seen.transpose(2, 0, 1)))[None]
        found |= {tuple(code) for code in model(pixels, most=100)[0].encoded.tolist()}
    assert {tuple(code) for code in landmarks.tolist()} <= found


def test_landmarks_depend_on_the_seed_alone_and_are_no_more_than_asked(
    drawn_photos: list[AnnotatedPhoto],
) -> None:
    model = tiny_model()
    landmarks = sample_landmarks(model, drawn_photos, seed=1, most=20)
    assert len(landmarks) == 20
    assert_close(sample_landmarks(model, drawn_photos, seed=1, most=20), landmarks, rtol=0, atol=0)
    assert not torch.equal(sample_landmarks(model, drawn_photos, seed=2, most=20), landmarks)


def test_networks_that_find_nothing_by_themselves_have_none(
    drawn_photos: list[AnnotatedPhoto],
) -> None:
    model = tiny_model()
    size = tiny_config().language.encoded_size
    assert sample_landmarks(model, []).shape == (0, size)
    model = make_network(tiny_config().replace(method="region_rnn"), words=len(WORDS)).eval()
    landmarks = sample_landmarks(model, drawn_photos)
    assert landmarks.shape == (0, size)
    keep_landmarks(model, landmarks)
    assert model.config.language.landmarks == 0
    assert not any("landmarks" in key for key in model.state_dict())


def test_a_photo_that_is_gone_is_an_error(
    drawn_photos: list[AnnotatedPhoto], tmp_path: Path
) -> None:
    gone = dataclasses.replace(drawn_photos[0], path=tmp_path / "gone.png")
    with pytest.raises(DataError, match=r"gone\.png cannot be opened"):
        sample_landmarks(tiny_model(), [gone])


def test_a_checkpoint_keeps_landmarks_and_one_without_loads_as_before(tmp_path: Path) -> None:
    model = tiny_model()
    without = save(tmp_path / "without.safetensors", model)
    assert load_checkpoint(without).model.language.landmarks is None
    assert NumpyLanguage(read_header(without)).landmarks is None

    codes = torch.rand(5, tiny_config().language.encoded_size).half().float()
    for landmarks in (torch.zeros(3, codes.shape[1]), codes):  # the latter in place of the former
        keep_landmarks(model, landmarks)
    path = save(tmp_path / "with.safetensors", model)
    loaded = load_checkpoint(path)
    assert loaded.config.language.landmarks == 5
    assert loaded.model.language.landmarks is not None
    assert_close(loaded.model.language.landmarks, codes, rtol=0, atol=0)
    quick = NumpyLanguage(read_header(path))
    assert quick.landmarks is not None
    assert quick.landmarks.dtype == np.float32
    np.testing.assert_array_equal(quick.landmarks, codes.numpy())


def test_landmarks_that_do_not_fit_are_damage(tmp_path: Path) -> None:
    model = tiny_model()
    keep_landmarks(model, torch.zeros(5, tiny_config().language.encoded_size + 1))
    path = save(tmp_path / "foreign.safetensors", model)
    with pytest.raises(CheckpointError, match="damaged"):
        load_checkpoint(path)
    with pytest.raises(CheckpointError, match="damaged"):
        NumpyLanguage(read_header(path))


def test_refining_ends_with_landmarks_of_the_language_model_that_it_made(
    drawn_folder: Path, drawn_photos: list[AnnotatedPhoto], tmp_path: Path
) -> None:
    checkpoint = load_checkpoint(save(tmp_path / "tiny.safetensors", tiny_model()))
    output = tmp_path / "refined.safetensors"
    options = RefiningOptions(
        views=1, steps=2, batch_size=8, discriminated_regions=4, device="cpu", workers=0
    )
    refine(checkpoint, drawn_folder, output, options)
    landmarks = load_checkpoint(output).model.language.landmarks
    assert landmarks is not None
    assert_close(landmarks, sample_landmarks(checkpoint.model, drawn_photos), rtol=1e-3, atol=1e-3)


def test_training_ends_with_landmarks_and_a_finished_run_finds_them_again(
    drawn_folder: Path, drawn_photos: list[AnnotatedPhoto], tmp_path: Path
) -> None:
    options = one_step(tmp_path)
    path = train(drawn_folder, tmp_path / "run", options)
    landmarks = load_checkpoint(path).model.language.landmarks
    assert landmarks is not None
    state = torch.load(tmp_path / "run" / "state.pt", weights_only=True)
    learned = new_objective(tiny_config(), words=len(state["words"])).eval()
    learned.load_weights(state["average"])  # they are no part of the run's state
    model = learned.network
    assert_close(landmarks, sample_landmarks(model, drawn_photos), rtol=1e-2, atol=1e-2)

    train(drawn_folder, tmp_path / "run", options, resume=True)
    again = load_checkpoint(path).model.language.landmarks
    assert again is not None
    assert_close(again, landmarks, rtol=0, atol=0)
