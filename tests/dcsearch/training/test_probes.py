"""Probes: phrases of photos, kept in the checkpoint by training, with the level of its photos."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from dcsearch.checkpoint.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from dcsearch.checkpoint.header import read_header
from dcsearch.data.regions import AnnotatedPhoto, AnnotatedRegion
from dcsearch.errors import DataError
from dcsearch.model.fcln import FCLN
from dcsearch.model.language import pad_tokens
from dcsearch.model.network import make_network
from dcsearch.scoring.formula import Weights
from dcsearch.scoring.numpy_engine import NumpyEngine
from dcsearch.scoring.phrase import read_phrase
from dcsearch.scoring.scorer import RegionScorer
from dcsearch.training.landmarks import find_regions
from dcsearch.training.loop import train
from dcsearch.training.options import RefiningOptions
from dcsearch.training.probes import give_probes, keep_probes, level_of, sample_probes
from dcsearch.training.refine import refine
from dcsearch.vocabulary import Vocabulary
from tests.conftest import WORDS, tiny_config, tiny_model
from tests.training_fixtures import one_step

VOCABULARY = Vocabulary(WORDS)


def saying(*phrases: str) -> AnnotatedPhoto:
    """A photo that cannot be opened."""
    regions = tuple(
        AnnotatedRegion(box=(0, 0, 9, 9), phrases=(text,), long_phrases=("the cat",), kind="")
        for text in phrases
    )
    return AnnotatedPhoto(path=Path("gone.png"), width=99, height=99, regions=regions, captions=())


def vectors(model: FCLN, *texts: str) -> torch.Tensor:
    tokens = pad_tokens([read_phrase(text, VOCABULARY).tokens for text in texts])
    with torch.no_grad():
        return model.embedding.embed_phrases(tokens)


def rows(matrix: torch.Tensor) -> list[list[float]]:
    return sorted(matrix.numpy().round(4).tolist())


def test_probes_are_different_phrases_of_some_known_word() -> None:
    model = tiny_model()
    photos = [
        saying("a red dog", "a xyzzy dog", "xyzzy"), saying("a dog", "a red dog", "A  Dog!"),
        saying("man"),
    ]  # fmt: skip
    found = sample_probes(model, VOCABULARY, photos)
    assert found.dtype == torch.float32
    assert rows(found) == rows(vectors(model, "a red dog", "a dog", "man"))
    assert sample_probes(model, VOCABULARY, [saying("xyzzy"), saying()]).shape == (0, 128)


def test_probes_depend_on_the_seed_alone_and_are_no_more_than_asked() -> None:
    model, photos = tiny_model(), [saying(*WORDS[1:])]
    one, same, other = (
        sample_probes(model, VOCABULARY, photos, seed=seed, most=5) for seed in (1, 1, 2)
    )
    assert one.shape == (5, 128)
    assert_close(one, same, rtol=0, atol=0)
    assert not torch.equal(one, other)


def test_the_level_is_what_the_photos_come_to(drawn_photos: list[AnnotatedPhoto]) -> None:
    model = tiny_model()
    probes = sample_probes(model, VOCABULARY, drawn_photos)
    expected = []
    for photo in drawn_photos:
        found = find_regions(model, photo)
        with torch.no_grad():
            cosines = model.embedding.embed_regions(found.encoded) @ probes.T
        scores = 15 * cosines + 3 * torch.sigmoid(found.objectness).log()[:, None]
        expected.append(scores.amax(dim=0).mean().item())
    assert level_of(model, probes, drawn_photos) == pytest.approx(np.mean(expected), abs=1e-4)
    alone = level_of(model, probes, drawn_photos, seed=3, most=1)
    assert min(abs(alone - each) for each in expected if alone is not None) < 1e-4
    assert level_of(model, probes, []) is None


def test_a_checkpoint_is_given_probes_that_last(
    drawn_photos: list[AnnotatedPhoto], tiny_checkpoint: Checkpoint, tmp_path: Path
) -> None:
    for seed in (1, 2):  # the latter in place of the former
        given = give_probes(tiny_checkpoint, drawn_photos, seed=seed)
        assert given.config == given.model.config
        assert given.config.embedding.probes > 0
        path = tmp_path / "given.safetensors"
        save_checkpoint(path, given.model, given.vocabulary, name="given", provenance={})
        again, read = load_checkpoint(path), NumpyEngine(read_header(path))
        own = given.model.embedding
        assert own.probes is not None
        assert own.level is not None
        assert read.probes is not None
        assert again.config == given.config
        assert read.probes.level == pytest.approx(float(own.level), abs=0.01)
        assert_close(torch.from_numpy(read.probes.vectors), own.probes, rtol=0, atol=1e-3)
        expected = sample_probes(given.model, given.vocabulary, drawn_photos, seed=seed)
        assert_close(own.probes, expected, rtol=0, atol=1e-6)
        found = [find_regions(given.model, photo) for photo in drawn_photos]
        scorer = RegionScorer(read, Weights(), probes=read.probes)
        told = [
            scorer.hubness(
                regions.encoded.numpy(), torch.sigmoid(regions.objectness).numpy(),
                np.array([len(regions.encoded)]),
            )[0]
            for regions in found
        ]  # fmt: skip
        assert np.mean(told) == pytest.approx(0, abs=0.05)  # an ordinary photo


def test_networks_that_cannot_have_probes_have_none(drawn_photos: list[AnnotatedPhoto]) -> None:
    model = tiny_model()
    keep_probes(model, VOCABULARY, drawn_photos)
    assert model.config.embedding.probes > 0
    keep_probes(model, VOCABULARY, [saying("xyzzy")])
    assert model.config.embedding.probes == 0
    assert not any("probes" in key or "level" in key for key in model.state_dict())
    keep_probes(model, VOCABULARY, drawn_photos)
    given = make_network(tiny_config().replace(method="region_rnn"), words=len(WORDS)).eval()
    keep_probes(given, VOCABULARY, drawn_photos)
    assert given.config.embedding.probes == 0
    plain = FCLN(tiny_config().replace(embedding_size=0), words=len(WORDS)).eval()
    keep_probes(plain, VOCABULARY, drawn_photos)
    assert plain.config.embedding.probes == 0


def test_a_photo_that_is_gone_is_an_error() -> None:
    with pytest.raises(DataError, match=r"gone\.png cannot be opened"):
        keep_probes(tiny_model(), VOCABULARY, [saying("a dog")])


def test_refining_ends_with_probes_of_the_embedding_that_it_made(
    drawn_folder: Path,
    drawn_photos: list[AnnotatedPhoto],
    tiny_checkpoint: Checkpoint,
    tmp_path: Path,
) -> None:
    output = tmp_path / "refined.safetensors"
    options = RefiningOptions(
        views=1, steps=2, batch_size=8, discriminated_regions=4, device="cpu", workers=0
    )
    for _ in range(2):  # the second time of what has probes already
        refine(tiny_checkpoint, drawn_folder, output, options)
        refined = load_checkpoint(output)
        expected = sample_probes(refined.model, refined.vocabulary, drawn_photos)
        assert refined.model.embedding.probes is not None
        assert_close(refined.model.embedding.probes, expected, rtol=0, atol=5e-3)
        tiny_checkpoint = refined


def test_training_ends_with_probes_and_a_finished_run_finds_them_again(
    drawn_folder: Path, drawn_photos: list[AnnotatedPhoto], tmp_path: Path
) -> None:
    options = one_step(tmp_path)
    path = train(drawn_folder, tmp_path / "run", options)
    trained = load_checkpoint(path)
    probes, level = trained.model.embedding.probes, trained.model.embedding.level
    assert probes is not None
    assert level is not None
    expected = sample_probes(trained.model, trained.vocabulary, drawn_photos)
    assert trained.config.embedding.probes == len(probes) == len(expected)
    assert_close(probes, expected, rtol=0, atol=1e-2)
    own = level_of(trained.model, probes, drawn_photos)
    assert float(level) == pytest.approx(own, abs=0.2)

    train(drawn_folder, tmp_path / "run", options, resume=True)
    again = load_checkpoint(path).model.embedding
    assert again.probes is not None
    assert again.level is not None
    assert_close(again.probes, probes, rtol=0, atol=0)
    assert_close(again.level, level, rtol=0, atol=0)
