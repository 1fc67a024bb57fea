"""Hubness: by hand, the same however photos are batched and by whichever library, and its part in
every score."""

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from dcsearch.checkpoint.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from dcsearch.checkpoint.header import read_header
from dcsearch.data.regions import AnnotatedPhoto, AnnotatedRegion
from dcsearch.describe import Description
from dcsearch.errors import CheckpointError, UsageError
from dcsearch.evaluation.detection import evaluate_detection
from dcsearch.evaluation.scoring import NOWHERE, Scoring, score_phrases
from dcsearch.scoring.detection import detect
from dcsearch.scoring.formula import HUBNESS_WEIGHT, SCORES, Score, Weights
from dcsearch.scoring.hubness import Probes, hubness
from dcsearch.scoring.numpy_engine import NumpyEmbedding, NumpyEngine
from dcsearch.scoring.phrase import read_phrase
from dcsearch.scoring.scorer import RegionScorer
from dcsearch.scoring.torch_engine import TorchEngine, torch_scorer
from dcsearch.vocabulary import Vocabulary
from indexer.candidates.faiss_cache import VectorCache
from tests.conftest import WORDS, changed_checkpoint
from tests.indexer_fixtures import new_index
from tests.search_fixtures import some_photos, write
from tests.store_fixtures import read_codes

NOTHING = np.zeros(0, dtype=np.int64)
TEXTS = ("a red dog", "the cat", "a cup", "man", "xyzzy")


@pytest.fixture
def probing(probing_path: Path) -> Checkpoint:
    return load_checkpoint(probing_path)


def numpy_scorer(path: Path, weights: Weights | None = None) -> RegionScorer[NumpyEngine]:
    engine = NumpyEngine(read_header(path))
    return RegionScorer(engine, weights or SCORES["fused"], probes=engine.probes)


@pytest.fixture
def quick(probing_path: Path) -> RegionScorer[NumpyEngine]:
    return numpy_scorer(probing_path)


def described(*counts: int, seed: int = 0) -> list[Description]:
    """Photos with so many regions each."""
    chance = np.random.default_rng(seed)
    photos = []
    for count in counts:
        low = chance.uniform(0, 60, size=(count, 2))
        photos.append(
            Description(
                width=100,
                height=100,
                boxes=np.hstack([low, low + chance.uniform(5, 40, (count, 2))]).astype("f4"),
                objectness=chance.uniform(0.05, 1.0, size=count).astype("f4"),
                captions=tuple(map(str, range(count))),
                codes=chance.exponential(size=(count, 16)).astype("f2"),
            )
        )
    return photos


PHOTOS = described(7, 0, 1, 12, 30)
COUNTS = np.array([len(photo.codes) for photo in PHOTOS])
CODES = np.concatenate([photo.codes for photo in PHOTOS])
OBJECTNESS = np.concatenate([photo.objectness for photo in PHOTOS])


# the number


def test_hubness_by_hand() -> None:
    vectors = np.array([[1, 0], [0.6, 0.8], [0, -1]], dtype=np.float32)
    objectness = np.array([-1.0, -3.0, 0.0], dtype=np.float32)
    probes = Probes(np.array([[1, 0], [0, 1]], dtype=np.float32), 4.0)
    # Of the first photo the best for (1, 0) is 15 - 1, for (0, 1) 12 - 3; the second has nothing;
    # the third 0 and -15.
    found = hubness(vectors, objectness, np.array([0, 2, 2]), probes)
    assert found.dtype == np.float32
    assert_allclose(found, [11.5 - 4, 0, -7.5 - 4], rtol=1e-6)
    added = Weights().hubness_score(found, np.array([2, 0, 1]))
    assert HUBNESS_WEIGHT == 0.3
    assert added.dtype == np.float32
    assert_allclose(added, [-2.25, -2.25, 3.45], rtol=1e-6)
    half = Weights(hubness=0.5).hubness_score(found, np.array([2, 0, 1]))
    assert_allclose(half, [-3.75, -3.75, 5.75], rtol=1e-6)


def test_where_there_is_nothing_hubness_is_nothing() -> None:
    nowhere, probes = np.zeros((0, 2), np.float32), Probes(np.eye(2, dtype=np.float32), 1.0)
    nothing = np.zeros(0, np.float32)
    assert hubness(nowhere, nothing, NOTHING, probes).shape == (0,)
    assert_array_equal(hubness(nowhere, nothing, np.array([0, 0]), probes), [0, 0])
    one = np.array([[1, 0]], dtype=np.float32)
    thing = np.zeros(1, np.float32)
    assert_array_equal(hubness(one, thing, np.array([0]), Probes(nowhere, 1.0)), [0])
    assert Weights().hubness_score(nothing, NOTHING).shape == (0,)
    assert Weights().hubness_score(np.ones(2, np.float32), np.array([0, 0])).shape == (0,)


def by_definition(quick: RegionScorer[NumpyEngine], photo: Description) -> float:
    assert quick.probes is not None
    if not len(photo.codes):
        return 0.0
    best = []
    for probe in quick.probes.vectors:
        cosines = [float(vector @ probe) for vector in quick.engine.vectors(photo.codes)]
        scores = zip(cosines, photo.objectness.tolist(), strict=True)
        best.append(max(15 * cosine + 3 * math.log(thing) for cosine, thing in scores))
    return sum(best) / len(best) - quick.probes.level


def test_all_photos_at_once_are_as_one_at_a_time_and_in_torch_as_in_numpy(
    quick: RegionScorer[NumpyEngine], probing: Checkpoint
) -> None:
    found = quick.hubness(CODES, OBJECTNESS, COUNTS)
    assert found.dtype == np.float32
    assert_allclose(found, [by_definition(quick, photo) for photo in PHOTOS], atol=1e-4)
    assert found[1] == 0
    assert np.std(found) > 0.5
    alone = [
        quick.hubness(photo.codes, photo.objectness, COUNTS[number : number + 1])[0]
        for number, photo in enumerate(PHOTOS)
    ]
    assert_allclose(found, alone, atol=1e-5)
    for score in SCORES:
        mixed = torch_scorer(probing, score, device="cpu")
        assert_allclose(mixed.hubness(CODES, OBJECTNESS, COUNTS), found, atol=1e-4)
    added = quick.phrase_free(CODES, OBJECTNESS, COUNTS)
    expected = 3 * np.log(OBJECTNESS) - 0.3 * np.repeat(found, COUNTS)
    assert added.dtype == np.float32
    assert_allclose(added, expected, atol=1e-5)
    assert quick.hubness(CODES[:0], OBJECTNESS[:0], NOTHING).shape == (0,)


def test_without_probes_nothing_changes_by_a_bit(
    tiny_checkpoint: Checkpoint, tiny_checkpoint_path: Path
) -> None:
    quick = numpy_scorer(tiny_checkpoint_path)
    assert quick.probes is None
    assert_array_equal(quick.hubness(CODES, OBJECTNESS, COUNTS), np.zeros(5))
    scorer = torch_scorer(tiny_checkpoint, device="cpu")
    assert_array_equal(scorer.hubness(CODES, OBJECTNESS, COUNTS), np.zeros(5))
    plain = Weights().objectness_score(OBJECTNESS)
    for own in (scorer, quick):
        added = own.phrase_free(CODES, OBJECTNESS, COUNTS)
        assert added.tobytes() == plain.tobytes()
    for scorings in ([Scoring()], [Scoring(per_word=True)]):
        without = [dataclasses.replace(own, hubness=0.0) for own in scorings]
        (found,), (same,) = (
            score_phrases(PHOTOS, TEXTS, scorer.engine, own) for own in (scorings, without)
        )
        assert found.scores.tobytes() == same.scores.tobytes()
        assert_array_equal(found.regions, same.regions)


def test_a_network_without_a_space_has_no_hubness(probing: Checkpoint) -> None:
    config = probing.config.replace(embedding_size=0, probes=0)
    scorer = torch_scorer(dataclasses.replace(probing, config=config), device="cpu")
    assert scorer.probes is None
    assert_array_equal(scorer.hubness(CODES, OBJECTNESS, COUNTS), np.zeros(5))


# its part in scores


@pytest.mark.parametrize("weights", [*SCORES.values()])
@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_a_photos_alignments_all_lose_the_same(
    weights: Weights, weight: float, probing: Checkpoint, quick: RegionScorer[NumpyEngine]
) -> None:
    engine = TorchEngine(probing, device="cpu")
    plain = Scoring(likelihood=weights.log_likelihood, similarity=weights.cosine, hubness=0.0)
    lowered = dataclasses.replace(plain, hubness=weight)
    assert Scoring().hubness == HUBNESS_WEIGHT
    less = weight * quick.hubness(CODES, OBJECTNESS, COUNTS)[:, None]
    together = score_phrases(PHOTOS, TEXTS, engine, [plain, lowered])
    for batch in (2, 200):
        alone = [
            score_phrases(PHOTOS, TEXTS, engine, [own], batch=batch)[0] for own in (plain, lowered)
        ]
        for before, after in (together, alone):
            assert_array_equal(before.regions, after.regions)
            seen = COUNTS > 0
            assert (after.scores[~seen][:, :4] == NOWHERE).all()
            assert_allclose(after.scores[seen], (before.scores - less)[seen], atol=1e-3)


@pytest.mark.parametrize("score", SCORES)
def test_detections_lose_what_their_photo_has_too_much(
    score: Score,
    probing: Checkpoint,
    tiny_checkpoint: Checkpoint,
    quick: RegionScorer[NumpyEngine],
) -> None:
    phrase = read_phrase("a red dog", Vocabulary(WORDS))
    with_probes, without = (
        torch_scorer(own, score, device="cpu") for own in (probing, tiny_checkpoint)
    )
    for number, photo in enumerate(PHOTOS):
        before, after = (detect(photo, phrase, own) for own in (without, with_probes))
        assert [each.box for each in after] == [each.box for each in before]
        less = 0.3 * quick.hubness(photo.codes, photo.objectness, COUNTS[number : number + 1])[0]
        assert [each.score for each in after] == pytest.approx(
            [each.score - less for each in before], abs=1e-4
        )
        assert [each.log_likelihood for each in after] == [each.log_likelihood for each in before]


def precisions(checkpoint: Checkpoint, photos: Sequence[AnnotatedPhoto], batch: int) -> list[float]:
    scorer = torch_scorer(checkpoint, "embedding", device="cpu")
    report = evaluate_detection(
        photos, described(9, 4, 0, 20, 6), scorer, categories=("dog", "cat"), batch=batch
    )
    return [measure.value for row in report.tables[0].rows for measure in row.values.values()]


def test_photos_that_answer_everything_are_found_later_for_categories(
    probing: Checkpoint, tiny_checkpoint: Checkpoint
) -> None:
    pytest.importorskip("pycocotools")
    seen = described(9, 4, 0, 20, 6)
    photos = [
        AnnotatedPhoto(
            path=Path("x.png"), width=100, height=100, captions=(),
            regions=tuple(
                AnnotatedRegion(
                    box=tuple(box), phrases=(name,), long_phrases=(), kind="object"
                )
                for name, box in zip(("dog", "cat"), own.boxes.tolist(), strict=False)
            ),
        )
        for own in seen
    ]  # fmt: skip
    found = precisions(probing, photos, 40)
    assert found == pytest.approx(precisions(probing, photos, 2))
    assert found != pytest.approx(precisions(tiny_checkpoint, photos, 40))


@pytest.mark.parametrize("weight", [-0.1, math.nan, math.inf])
def test_a_weight_of_hubness_is_a_number_from_nothing_up(weight: float) -> None:
    with pytest.raises(UsageError, match="at least 0"):
        Scoring(hubness=weight)


def test_a_scoring_tells_another_weight() -> None:
    assert Scoring(hubness=0.0).name == "hubness 0"
    assert Scoring(hubness=0.5, similarity=15.0, likelihood=0.5).name == "hubness 0.5, fused"


# the cache


def test_the_cache_holds_what_is_computed_on_the_fly(
    tmp_path: Path, probing_path: Path, quick: RegionScorer[NumpyEngine]
) -> None:
    header = read_header(probing_path)
    photos = some_photos(40, seed=2)
    with new_index(tmp_path / "index.db") as database:
        for part in (slice(0, 25), slice(25, None)):  # a segment each
            write(database, header, dict(list(photos.items())[part]))
            vectors = VectorCache(database, header).current()
        assert len(vectors.segments) == 2
        (chunk,) = read_codes(database, chunk=1000)
    found = vectors.regions_at(np.arange(len(chunk.codes)))
    expected = quick.phrase_free(chunk.codes, chunk.objectness, chunk.counts)
    assert_allclose(found.phrase_free, expected, atol=1e-5)
    assert np.abs(expected - Weights().objectness_score(chunk.objectness)).max() > 0.1


# files


def test_a_checkpoint_keeps_probes(tmp_path: Path, probing: Checkpoint) -> None:
    probes, level = probing.model.embedding.probes, probing.model.embedding.level
    assert probes is not None
    assert level is not None
    assert probing.config.embedding.probes == 12
    assert_allclose(np.linalg.norm(probes.numpy(), axis=1), np.ones(12), atol=1e-3)
    level.fill_(9.876)
    for dtype, room in ((torch.float16, 0.005), (torch.float32, 1e-6)):
        path = tmp_path / f"{dtype}.safetensors"
        save_checkpoint(
            path, probing.model, probing.vocabulary, name="again", provenance={}, dtype=dtype
        )
        again = load_checkpoint(path)
        assert again.config == probing.config
        assert again.model.embedding.probes is not None
        assert again.model.embedding.level is not None
        assert_array_equal(again.model.embedding.probes.numpy(), probes.numpy())
        read = NumpyEngine(read_header(path)).probes
        assert read is not None
        assert_array_equal(read.vectors, probes.numpy())
        assert read.level == float(again.model.embedding.level) == pytest.approx(9.876, abs=room)


@pytest.mark.parametrize("name", ["probes", "level"])
@pytest.mark.parametrize("damage", ["missing", "short", "narrow", "of more"])
def test_damaged_probes_are_one_sentence(
    name: str, damage: str, probing_path: Path, tmp_path: Path
) -> None:
    whole = torch.zeros(12, 128) if name == "probes" else torch.zeros(())
    tensor = {
        "missing": None,
        "short": whole[:-1] if whole.ndim else torch.zeros(3),
        "narrow": whole[:, :-1].contiguous() if whole.ndim else torch.zeros(0),
        "of more": torch.stack([whole, whole]),
    }[damage]
    header = changed_checkpoint(probing_path, tmp_path, part="embedding", **{name: tensor})
    for read in (lambda: NumpyEmbedding(header), lambda: load_checkpoint(header.path)):
        with pytest.raises(CheckpointError, match="damaged") as caught:
            read()
        assert str(header.path) in str(caught.value)


def test_probes_lie_in_a_space(probing: Checkpoint) -> None:
    with pytest.raises(ValueError, match="probes cannot be 12"):
        probing.config.replace(embedding_size=0)
    with pytest.raises(ValueError, match="probes cannot be -1"):
        probing.config.replace(probes=-1)


def test_a_config_of_earlier_has_no_probes(tiny_checkpoint: Checkpoint) -> None:
    values = tiny_checkpoint.config.to_json()
    del values["probes"]
    assert type(tiny_checkpoint.config).from_json(values) == tiny_checkpoint.config
