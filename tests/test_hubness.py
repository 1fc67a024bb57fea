"""Hubness: by hand, the same however photos are batched and by whichever library, and its part in
every score."""

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import WORDS, changed_checkpoint
from indexer_fixtures import new_index
from numpy.testing import assert_allclose, assert_array_equal
from search_fixtures import some_photos, write

from dcsearch.data.regions import AnnotatedPhoto, AnnotatedRegion
from dcsearch.describe import Description
from dcsearch.detection import detect
from dcsearch.errors import CheckpointError, UsageError
from dcsearch.evaluation.detection import evaluate_detection
from dcsearch.evaluation.rivals import Drawn, align_rivals
from dcsearch.evaluation.scoring import NOWHERE, Scoring, align
from dcsearch.hubness import HUBNESS_WEIGHT, hubness, hubness_score
from dcsearch.mixed_score import MixedScorer
from dcsearch.model.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from dcsearch.model.header import read_header
from dcsearch.phrase import read_phrase
from dcsearch.quick_embedding import QuickEmbedding, phrase_free_scores
from dcsearch.region_score import MIXTURES, Score, objectness_score
from dcsearch.similarity import SimilarityScorer, photo_hubness
from dcsearch.vocabulary import Vocabulary
from indexer.codes import read_codes
from indexer.vectors import VectorCache

NOTHING = np.zeros(0, dtype=np.int64)
TEXTS = ("a red dog", "the cat", "a cup", "man", "xyzzy")


@pytest.fixture
def probing(probing_path: Path) -> Checkpoint:
    return load_checkpoint(probing_path)


@pytest.fixture
def quick(probing_path: Path) -> QuickEmbedding:
    return QuickEmbedding(read_header(probing_path))


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
    probes = np.array([[1, 0], [0, 1]], dtype=np.float32)
    # Of the first photo the best for (1, 0) is 20 - 1, for (0, 1) 16 - 3; the second has nothing;
    # the third 0 and -20.
    found = hubness(vectors, objectness, np.array([0, 2, 2]), probes, 4.0)
    assert found.dtype == np.float32
    assert_allclose(found, [16 - 4, 0, -10 - 4], rtol=1e-6)
    added = hubness_score(found, np.array([2, 0, 1]))
    assert HUBNESS_WEIGHT == 0.3
    assert added.dtype == np.float32
    assert_allclose(added, [-3.6, -3.6, 4.2], rtol=1e-6)
    assert_allclose(hubness_score(found, np.array([2, 0, 1]), weight=0.5), [-6, -6, 7], rtol=1e-6)


def test_where_there_is_nothing_hubness_is_nothing() -> None:
    nowhere, probes = np.zeros((0, 2), np.float32), np.eye(2, dtype=np.float32)
    nothing = np.zeros(0, np.float32)
    assert hubness(nowhere, nothing, NOTHING, probes, 1.0).shape == (0,)
    assert_array_equal(hubness(nowhere, nothing, np.array([0, 0]), probes, 1.0), [0, 0])
    one = np.array([[1, 0]], dtype=np.float32)
    thing = np.zeros(1, np.float32)
    assert_array_equal(hubness(one, thing, np.array([0]), nowhere, 1.0), [0])
    assert hubness_score(nothing, NOTHING).shape == (0,)
    assert hubness_score(np.ones(2, np.float32), np.array([0, 0])).shape == (0,)


def by_definition(quick: QuickEmbedding, photo: Description) -> float:
    assert quick.probes is not None
    if not len(photo.codes):
        return 0.0
    best = []
    for probe in quick.probes:
        cosines = [float(vector @ probe) for vector in quick.regions(photo.codes)]
        scores = zip(cosines, photo.objectness.tolist(), strict=True)
        best.append(max(20 * cosine + 2 * math.log(thing) for cosine, thing in scores))
    return sum(best) / len(best) - quick.level


def test_all_photos_at_once_are_as_one_at_a_time_and_in_torch_as_in_numpy(
    quick: QuickEmbedding, probing: Checkpoint
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
    similarity = SimilarityScorer(probing, device="cpu")
    assert_allclose(similarity.hubness(CODES, OBJECTNESS, COUNTS), found, atol=1e-4)
    for score in MIXTURES:
        mixed = MixedScorer(probing, score, device="cpu")
        assert_allclose(mixed.hubness(CODES, OBJECTNESS, COUNTS), found, atol=1e-4)
    added = phrase_free_scores(quick, CODES, OBJECTNESS, COUNTS)
    expected = 2 * np.log(OBJECTNESS) - 0.3 * np.repeat(found, COUNTS)
    assert added.dtype == np.float32
    assert_allclose(added, expected, atol=1e-5)
    assert quick.hubness(CODES[:0], OBJECTNESS[:0], NOTHING).shape == (0,)


def test_without_probes_nothing_changes_by_a_bit(
    tiny_checkpoint: Checkpoint, tiny_checkpoint_path: Path
) -> None:
    quick = QuickEmbedding(read_header(tiny_checkpoint_path))
    assert quick.probes is None
    assert_array_equal(quick.hubness(CODES, OBJECTNESS, COUNTS), np.zeros(5))
    scorer = MixedScorer(tiny_checkpoint, device="cpu")
    assert_array_equal(scorer.hubness(CODES, OBJECTNESS, COUNTS), np.zeros(5))
    plain = objectness_score(OBJECTNESS)
    for embedding in (None, quick):
        added = phrase_free_scores(embedding, CODES, OBJECTNESS, COUNTS)
        assert added.tobytes() == plain.tobytes()
    for scorings in ([Scoring()], [Scoring(per_word=True)]):
        without = [dataclasses.replace(own, hubness=0.0) for own in scorings]
        (found,), (same,) = (align(PHOTOS, TEXTS, scorer, own) for own in (scorings, without))
        assert found.scores.tobytes() == same.scores.tobytes()
        assert_array_equal(found.regions, same.regions)


def test_a_network_without_a_space_has_no_hubness(probing: Checkpoint) -> None:
    config = dataclasses.replace(probing.config, embedding_size=0, probes=0)
    scorer = MixedScorer(dataclasses.replace(probing, config=config), device="cpu")
    assert_array_equal(photo_hubness(scorer, CODES, OBJECTNESS, COUNTS), np.zeros(5))


# its part in scores


@pytest.mark.parametrize("mixture", [*MIXTURES.values()])
@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_a_photos_alignments_all_lose_the_same(
    mixture: tuple[float, float], weight: float, probing: Checkpoint, quick: QuickEmbedding
) -> None:
    scorer = MixedScorer(probing, device="cpu")
    likelihood, similarity = mixture
    plain = Scoring(likelihood=likelihood, similarity=similarity, hubness=0.0)
    lowered = dataclasses.replace(plain, hubness=weight)
    assert Scoring().hubness == HUBNESS_WEIGHT
    less = weight * quick.hubness(CODES, OBJECTNESS, COUNTS)[:, None]
    together = align(PHOTOS, TEXTS, scorer, [plain, lowered])
    for batch in (2, 200):
        alone = [align(PHOTOS, TEXTS, scorer, [own], batch=batch)[0] for own in (plain, lowered)]
        for before, after in (together, alone):
            assert_array_equal(before.regions, after.regions)
            seen = COUNTS > 0
            assert (after.scores[~seen][:, :4] == NOWHERE).all()
            assert_allclose(after.scores[seen], (before.scores - less)[seen], atol=1e-3)


def test_rivals_are_pushed_down_too(probing: Checkpoint) -> None:
    chance = np.random.default_rng(3)
    photos = described(*chance.integers(0, 20, size=30).tolist(), seed=3)
    scorer = MixedScorer(probing, device="cpu")
    texts = TEXTS[:4]
    drawn = [Drawn(photo, tuple(chance.permutation(texts)[:2])) for photo in range(30)]
    scoring = Scoring(likelihood=0.5, similarity=20.0)
    every, _ = align(photos, texts, scorer, [scoring, Scoring(per_word=True)])
    own = align_rivals(photos, texts, scorer, scoring, drawn)
    for photo, asked in drawn:
        columns = [texts.index(text) for text in asked]
        total, same = (each.scores[:, columns].sum(axis=1) for each in (every, own))
        assert (same > same[photo]).sum() == (total > total[photo]).sum()


@pytest.mark.parametrize("score", MIXTURES)
def test_detections_lose_what_their_photo_has_too_much(
    score: Score, probing: Checkpoint, tiny_checkpoint: Checkpoint, quick: QuickEmbedding
) -> None:
    phrase = read_phrase("a red dog", Vocabulary(WORDS))
    with_probes, without = (
        MixedScorer(own, score, device="cpu") for own in (probing, tiny_checkpoint)
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
    scorer = MixedScorer(checkpoint, "embedding", device="cpu")
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
    assert Scoring(hubness=0.5, similarity=20.0, likelihood=0.5).name == "hubness 0.5, fused"


# the cache


def test_the_cache_holds_what_is_computed_on_the_fly(
    tmp_path: Path, probing_path: Path, quick: QuickEmbedding
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
    expected = phrase_free_scores(quick, chunk.codes, chunk.objectness, chunk.counts)
    assert_allclose(found.objectness, expected, atol=1e-5)
    assert np.abs(expected - objectness_score(chunk.objectness)).max() > 0.1


# files


def test_a_checkpoint_keeps_probes(tmp_path: Path, probing: Checkpoint) -> None:
    probes, level = probing.model.embedding.probes, probing.model.embedding.level
    assert probes is not None
    assert level is not None
    assert probing.config.probes == 12
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
        quick = QuickEmbedding(read_header(path))
        assert quick.probes is not None
        assert_array_equal(quick.probes, probes.numpy())
        assert quick.level == float(again.model.embedding.level) == pytest.approx(9.876, abs=room)


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
    for read in (lambda: QuickEmbedding(header), lambda: load_checkpoint(header.path)):
        with pytest.raises(CheckpointError, match="damaged") as caught:
            read()
        assert str(header.path) in str(caught.value)


def test_probes_lie_in_a_space(probing: Checkpoint) -> None:
    with pytest.raises(ValueError, match="probes cannot be 12"):
        dataclasses.replace(probing.config, embedding_size=0)
    with pytest.raises(ValueError, match="probes cannot be -1"):
        dataclasses.replace(probing.config, probes=-1)


def test_a_config_of_earlier_has_no_probes(tiny_checkpoint: Checkpoint) -> None:
    values = tiny_checkpoint.config.to_json()
    del values["probes"]
    assert type(tiny_checkpoint.config).from_json(values) == tiny_checkpoint.config
