"""Retrieval: hand-made descriptions whose ranks and overlaps are known."""

import dataclasses
import json
import math
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple, cast

import numpy as np
import pytest
import torch
from conftest import WORDS
from PIL import Image

from dcsearch.data.regions import AnnotatedPhoto, AnnotatedRegion
from dcsearch.describe import Describer, Description, PreparedPhoto
from dcsearch.errors import DataError, UsageError
from dcsearch.evaluation.retrieval import (
    Figures,
    RetrievalReport,
    align_all,
    describe_annotated,
    draw_queries,
    evaluate_retrieval,
    mean_rank,
)
from dcsearch.likelihood import OBJECTNESS_WEIGHT, LikelihoodScorer, Phrase
from dcsearch.model.checkpoint import Checkpoint
from dcsearch.vocabulary import Vocabulary

Box = tuple[float, float, float, float]
A, B, C = (0.0, 0.0, 10.0, 10.0), (20.0, 0.0, 40.0, 10.0), (50.0, 50.0, 60.0, 60.0)


class Seen(NamedTuple):
    """A region that the network is said to find, with the log-likelihood of each phrase."""

    box: Box
    says: dict[str, float]
    objectness: float = 1.0


class World:
    """Stands for a describer and a scorer: every photo's colour is its number."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.photos: list[AnnotatedPhoto] = []
        self.seen: list[Seen] = []
        self.descriptions: list[Description] = []

    def add(self, seen: Sequence[Seen], annotated: Sequence[tuple[Box, str]] = ()) -> None:
        """One more photo: what is found in it, and the boxes and phrases of its annotation."""
        number = len(self.photos)
        path = self.folder / f"{number}.png"
        Image.new("RGB", (4, 4), (number, 0, 0)).save(path)
        regions = tuple(
            AnnotatedRegion(box=box, phrases=(text,), long_phrases=("never drawn",), kind="")
            for box, text in annotated
        )
        self.photos.append(
            AnnotatedPhoto(path=path, width=100, height=100, regions=regions, captions=())
        )
        self.descriptions.append(
            Description(
                width=100,
                height=100,
                boxes=np.array([s.box for s in seen], dtype=np.float32).reshape(-1, 4),
                objectness=np.array([s.objectness for s in seen], dtype=np.float32),
                captions=("",) * len(seen),
                codes=np.arange(len(self.seen), len(self.seen) + len(seen))
                .astype(np.float16)
                .reshape(-1, 1),
            )
        )
        self.seen.extend(seen)

    @property
    def describer(self) -> Describer:
        world = self

        class Stub:
            regions = 7
            checkpoint = SimpleNamespace(name="hand", sha256="00ff")

            def prepare(self, photo: Image.Image, *, frame: tuple[int, int]) -> PreparedPhoto:
                assert frame == (100, 100)
                pixel = cast(tuple[int, ...], photo.getpixel((0, 0)))
                return PreparedPhoto(pixels=torch.tensor(pixel), width=100, height=100)

            def describe(
                self, photos: Sequence[PreparedPhoto], *, captions: bool
            ) -> list[Description]:
                assert not captions
                return [world.descriptions[int(photo.pixels[0])] for photo in photos]

        return cast(Describer, Stub())

    @property
    def scorer(self) -> LikelihoodScorer:
        seen = self.seen

        class Stub:
            checkpoint = SimpleNamespace(vocabulary=Vocabulary(WORDS))

            def log_likelihoods(self, codes: np.ndarray, phrases: Sequence[Phrase]) -> np.ndarray:
                rows = [seen[int(code)] for code in codes[:, 0]]
                return np.array(
                    [[row.says[phrase.text] for phrase in phrases] for row in rows],
                    dtype=np.float32,
                ).reshape(len(rows), len(phrases))

        return cast(LikelihoodScorer, Stub())

    def figures(self, *, phrases: int, mean: str = "log-probability") -> Figures:
        """Figures of one query about the only photo that has so many phrases."""
        report = evaluate_retrieval(
            self.photos, self.describer, self.scorer, queries=1, phrases=phrases, seeds=1,
            mean=mean,
        )  # fmt: skip
        (figures,) = report.seeds
        return figures


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def pets(dog: float, cat: float, *, where: Box = C) -> list[Seen]:
    """One region that the two phrases describe so well."""
    return [Seen(where, {"a dog": dog, "a cat": cat})]


ASKED = [(A, "a dog"), (B, "a cat")]


# ranks


def test_the_mean_of_log_probabilities_and_of_probabilities_rank_differently(
    world: World,
) -> None:
    world.add(pets(-2, -6), ASKED)  # means: -4 and (e^-2 + e^-6) / 2
    world.add(pets(-1, -8))  # -4.5 and more than e^-1 / 2
    world.add(pets(-5, -5))  # -5 and e^-5
    by_logarithm = world.figures(phrases=2)
    assert (by_logarithm.median_rank, by_logarithm.reciprocal_rank) == (1.0, 1.0)
    assert by_logarithm.recall == {1: 1.0, 5: 1.0, 10: 1.0}
    by_probability = world.figures(phrases=2, mean="probability")
    assert (by_probability.median_rank, by_probability.reciprocal_rank) == (2.0, 1 / 2)
    assert by_probability.recall == {1: 0.0, 5: 1.0, 10: 1.0}


def test_each_phrase_has_its_own_best_region(world: World) -> None:
    world.add([*pets(-1, -9), *pets(-9, -2)], ASKED)  # mean of the best: -1.5
    world.add(pets(-2, -2))
    assert world.figures(phrases=2).median_rank == 1


def test_photos_that_tie_share_their_mean_rank(world: World) -> None:
    world.add(pets(-3, -3), ASKED)
    world.add(pets(-2, -4))
    world.add(pets(-4, -2))
    world.add(pets(-1, -1))  # better
    world.add(pets(-9, -9))  # worse
    figures = world.figures(phrases=2)
    assert figures.median_rank == (2 + 3 + 4) / 3
    assert figures.recall == {1: 0.0, 5: 1.0, 10: 1.0}


def test_a_photo_without_regions_ranks_last(world: World) -> None:
    world.add(pets(-30, -30), ASKED)
    world.add([])
    world.add([])
    assert world.figures(phrases=2).median_rank == 1


def test_a_source_photo_without_regions_is_found_last_and_nowhere(world: World) -> None:
    world.add([], ASKED)
    world.add(pets(-30, -30))
    world.add([])
    figures = world.figures(phrases=2)
    assert figures.median_rank == 2.5
    assert figures.localization == {0.1: 0.0, 0.3: 0.0, 0.5: 0.0}


@pytest.mark.parametrize("mean", ["log-probability", "probability"])
def test_a_phrase_without_a_known_word_leaves_the_ranking_to_the_others(
    mean: str, world: World
) -> None:
    world.add(pets(-3, 0), [(A, "a dog"), (B, "xyzzy")])
    world.add(pets(-2, 0))
    world.add(pets(-4, 0))
    world.add(pets(-5, 0))
    assert world.figures(phrases=2, mean=mean).median_rank == 2


def test_phrases_without_any_known_word_tell_no_photo_from_another(world: World) -> None:
    world.add(pets(0, 0), [(A, "xyzzy")])
    world.add(pets(0, 0))
    world.add(pets(0, 0))
    figures = world.figures(phrases=1)
    assert figures.median_rank == 2.0
    assert figures.localization[0.1] == 0.0


def test_very_small_probabilities_keep_their_order(world: World) -> None:
    world.add(pets(-110, -110), ASKED)
    world.add(pets(-120, -120))
    world.add(pets(-130, -130))
    assert world.figures(phrases=2, mean="probability").median_rank == 1


@pytest.mark.parametrize(
    ("scores", "ranks"),
    [
        ([3.0, 1.0, 2.0], [1, 3, 2]),
        ([1.0, 1.0, 1.0], [2, 2, 2]),
        ([5.0, 1.0, 5.0, 0.0], [1.5, 3, 1.5, 4]),
        ([7.0], [1]),
    ],
)
def test_ranks_by_hand(scores: list[float], ranks: list[float]) -> None:
    assert [mean_rank(np.array(scores), index) for index in range(len(scores))] == ranks


# localization


def test_overlap_of_the_aligned_regions_by_hand(world: World) -> None:
    dog = Seen(A, {"a dog": -1, "a cat": -9})
    cat = Seen((30.0, 0.0, 50.0, 10.0), {"a dog": -9, "a cat": -1})  # IoU with B: 100 / 300
    world.add([dog, cat], ASKED)
    world.add(pets(-1, -1))
    figures = world.figures(phrases=2)
    assert figures.localization == {0.1: 1.0, 0.3: 1.0, 0.5: 0.5}
    assert figures.single_box == 0.5
    assert figures.median_overlap == pytest.approx((1 + 1 / 3) / 2)


def test_localization_looks_at_the_source_photo_and_not_at_the_best(world: World) -> None:
    world.add(pets(-9, -9, where=A), [(A, "a dog"), (C, "a cat")])
    world.add(pets(-1, -1, where=C))
    figures = world.figures(phrases=2)
    assert figures.median_rank == 2
    assert figures.localization == {0.1: 0.5, 0.3: 0.5, 0.5: 0.5}


def test_objectness_has_its_say_in_the_alignment(world: World) -> None:
    faint = Seen(B, {"a dog": -1.0}, objectness=math.exp(-3 / OBJECTNESS_WEIGHT))
    clear = Seen(A, {"a dog": -2.0}, objectness=math.exp(-1 / OBJECTNESS_WEIGHT))
    world.add([faint, clear], [(A, "a dog")])
    assert world.figures(phrases=1).localization[0.5] == 1.0  # -3 against -4


def test_any_box_of_a_phrase_is_right_and_a_single_one_is_reported_beside(world: World) -> None:
    boxes = [(10.0 * k, 80.0, 10.0 * k + 9, 89.0) for k in range(4)]
    world.add([Seen(boxes[2], {"a man": -1.0})], [(box, "a man") for box in boxes])
    report = evaluate_retrieval(
        world.photos, world.describer, world.scorer, queries=1, phrases=1, seeds=40
    )
    assert [figures.localization[0.5] for figures in report.seeds] == [1.0] * 40
    assert 2 <= sum(figures.single_box for figures in report.seeds) <= 20  # about a quarter


# queries and pools


def annotated(*texts: tuple[str, ...]) -> list[AnnotatedPhoto]:
    """Photos with a region for each text."""
    return [
        AnnotatedPhoto(
            path=Path(f"{number}.png"), width=9, height=9, captions=(),
            regions=tuple(
                AnnotatedRegion(box=(0, 0, 1 + k, 1), phrases=(text,), long_phrases=("x",), kind="")
                for k, text in enumerate(own)
            ),
        )
        for number, own in enumerate(texts)
    ]  # fmt: skip


def test_queries_are_phrases_of_photos_that_have_enough_and_no_photo_comes_twice() -> None:
    photos = annotated(("a", "b", "c"), ("d",), (), ("e", "f"), ("g", "g"), ("h", "i", "j", "k"))
    for seed in range(10):
        queries = draw_queries(photos, queries=3, phrases=2, seed=seed)
        assert sorted(query.photo for query in queries) == [0, 3, 5]  # "g", "g" is one phrase
        for query in queries:
            texts = [asked.text for asked in query.phrases]
            assert len(set(texts)) == 2
            for asked in query.phrases:
                boxes = [r.box for r in photos[query.photo].regions if asked.text in r.phrases]
                assert list(asked.boxes) == boxes
                assert asked.box in boxes


def test_queries_depend_on_the_seed_alone() -> None:
    photos = annotated(*([tuple("abcdefgh")] * 20))
    assert draw_queries(photos, queries=5, phrases=4, seed=1) == draw_queries(
        photos, queries=5, phrases=4, seed=1
    )
    assert draw_queries(photos, queries=5, phrases=4, seed=1) != draw_queries(
        photos, queries=5, phrases=4, seed=2
    )


def test_too_few_photos_with_phrases_name_the_cure() -> None:
    with pytest.raises(UsageError) as caught:
        draw_queries(annotated(("a", "b"), ("c",)), queries=2, phrases=2, seed=0)
    assert str(caught.value) == (
        "only 1 photos have 2 phrases or more; ask for at most that many with --queries"
    )


def test_a_pool_is_a_draw_of_the_photos(world: World) -> None:
    for number in range(6):
        world.add(pets(-number, -number), ASKED)
    report = evaluate_retrieval(
        world.photos, world.describer, world.scorer, images=3, queries=3, phrases=2, seeds=8
    )
    assert report.photos == 3
    for figures in report.seeds:  # all three are asked for: ranks 1, 2, 3
        assert figures.median_rank == 2
        assert figures.reciprocal_rank == pytest.approx((1 + 1 / 2 + 1 / 3) / 3)
        assert figures.recall == {1: pytest.approx(1 / 3), 5: 1.0, 10: 1.0}


def test_a_pool_larger_than_all_photos_is_all_photos(world: World) -> None:
    world.add(pets(-1, -1), ASKED)
    world.add(pets(-2, -2))
    report = evaluate_retrieval(
        world.photos, world.describer, world.scorer, images=1000, queries=1, phrases=2, seeds=2
    )
    assert (report.photos, report.queries, report.phrases) == (2, 1, 2)
    assert (report.regions, report.mean) == (7, "log-probability")
    assert (report.model_name, report.model_sha256) == ("hand", "00ff")


def test_long_phrases_are_not_asked(world: World) -> None:
    world.add(pets(-1, -1), ASKED)
    with pytest.raises(UsageError, match="only 0 photos have 3 phrases"):
        world.figures(phrases=3)  # the third would be "never drawn"


# reports


def figures_of(rank: float, found: float) -> Figures:
    return Figures(
        recall={1: 0.0, 5: 0.5, 10: 1.0}, median_rank=rank, reciprocal_rank=1 / rank,
        localization={0.1: 1.0, 0.3: 1.0, 0.5: found}, single_box=found, median_overlap=0.5,
    )  # fmt: skip


def report_of(*seeds: Figures) -> RetrievalReport:
    return RetrievalReport(
        photos=9, queries=2, phrases=4, regions=100, mean="log-probability", model_name="m",
        model_sha256="ab", seeds=seeds,
    )  # fmt: skip


def test_the_summary_is_mean_and_deviation_over_the_seeds() -> None:
    summary = report_of(figures_of(2.0, 0.25), figures_of(4.0, 0.75)).summary()
    assert summary["median rank"] == pytest.approx((3.0, math.sqrt(2)))
    assert summary["IoU@0.5"] == pytest.approx((0.5, math.sqrt(1 / 8)))
    assert summary["R@5"] == (0.5, 0.0)
    assert report_of(figures_of(2.0, 0.25)).summary()["median rank"] == (2.0, 0.0)


def test_a_report_becomes_json() -> None:
    report = json.loads(json.dumps(report_of(figures_of(2.0, 0.25)).to_json()))
    assert report["protocol"] == "retrieval"
    assert report["model"] == {"name": "m", "sha256": "ab"}
    assert report["summary"]["IoU@0.5"] == {"mean": 0.25, "deviation": 0.0}
    assert report["seeds"] == [figures_of(2.0, 0.25).to_json()]
    assert {"R@1", "R@5", "R@10", "MRR", "IoU@0.1", "IoU@0.3", "median IoU"} <= set(
        report["summary"]
    )


def test_progress_is_told_for_photos_and_phrases(world: World) -> None:
    for _ in range(18):
        world.add(pets(-1, -1), ASKED)
    told: list[tuple[str, int, int]] = []
    evaluate_retrieval(
        world.photos, world.describer, world.scorer, queries=1, phrases=1, seeds=1,
        on_progress=lambda what, done, of: told.append((what, done, of)),
    )  # fmt: skip
    assert told == [("photos", 16, 18), ("photos", 18, 18), ("phrases", 18, 18)]


# what cannot be measured


def test_an_unknown_mean_is_refused(world: World) -> None:
    with pytest.raises(UsageError, match="no mean 'median'; choose log-probability or probab"):
        world.figures(phrases=1, mean="median")


def test_no_photos_are_refused(world: World) -> None:
    with pytest.raises(DataError, match="no photos to evaluate on"):
        world.figures(phrases=1)


@pytest.mark.parametrize("content", [None, b"no photo"])
def test_a_photo_that_cannot_be_opened_is_named(content: bytes | None, world: World) -> None:
    world.add(pets(-1, -1), ASKED)
    path = world.photos[0].path
    path.unlink()
    if content:
        path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        world.figures(phrases=1)
    assert str(caught.value).startswith(f"photo {path} cannot be opened: ")


# parts, and the whole with a real network


def quiet(what: str, done: int, of: int) -> None:
    pass


@pytest.mark.parametrize("batch", [1, 3, 100])
def test_batches_do_not_change_alignments(batch: int, world: World) -> None:
    chance = np.random.default_rng(0)
    for number in range(7):
        world.add([pets(*chance.uniform(-9, -1, 2))[0] for _ in range(number % 4)], ASKED)
    described = list(describe_annotated(world.photos, world.describer, quiet, batch=batch))
    assert [id(d) for d in described] == [id(d) for d in world.descriptions]
    texts = ["a dog", "xyzzy", "a cat"]
    scores, aligned = align_all(described, texts, world.scorer, quiet, batch=batch)
    for number, description in enumerate(described):
        for column, text in enumerate(texts):
            own = [world.seen[int(code)].says.get(text, -1e9) for code in description.codes[:, 0]]
            if own and text != "xyzzy":
                assert scores[number, column] == pytest.approx(max(own))
                assert aligned[number, column] == int(np.argmax(own))
            else:
                assert aligned[number, column] == -1


def test_a_real_network_is_measured_alike_each_time(
    tiny_checkpoint: Checkpoint, tmp_path: Path
) -> None:
    chance = np.random.default_rng(0)
    photos = []
    for number, photo in enumerate(annotated(*[("a red dog", "a cat", "the xyzzy", "a cup")] * 5)):
        path = tmp_path / f"{number}.png"
        noise = chance.integers(0, 256, size=(6, 8, 3), dtype=np.uint8)
        Image.fromarray(noise).resize((80, 60)).save(path)
        photos.append(dataclasses.replace(photo, path=path))
    describer = Describer(tiny_checkpoint, device="cpu", regions=10)
    scorer = LikelihoodScorer(tiny_checkpoint, device="cpu")
    first, second = (
        evaluate_retrieval(photos, describer, scorer, queries=5, phrases=3, seeds=3)
        for _ in range(2)
    )
    assert first == second
    assert (first.photos, first.regions) == (5, 10)
    assert first.model_sha256 == tiny_checkpoint.sha256
    for figures in first.seeds:
        assert 1 <= figures.median_rank <= 5
        assert figures.recall[5] == 1.0
