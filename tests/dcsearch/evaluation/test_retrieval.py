"""Retrieval: hand-made descriptions whose ranks and overlaps are known."""

import dataclasses
import itertools
import json
import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple, cast

import numpy as np
import pytest
from PIL import Image

from cli import cures
from dcsearch.checkpoint.checkpoint import Checkpoint
from dcsearch.data.regions import AnnotatedPhoto, AnnotatedRegion
from dcsearch.describe import Describer, Description
from dcsearch.errors import DataError, UsageError
from dcsearch.evaluation.described import describe_annotated
from dcsearch.evaluation.report import Report
from dcsearch.evaluation.retrieval import draw_queries, evaluate_retrieval, mean_rank
from dcsearch.evaluation.scoring import Scoring, other_scorings, score_phrases
from dcsearch.scoring.formula import HUBNESS_WEIGHT, OBJECTNESS_WEIGHT
from dcsearch.scoring.phrase import Phrase
from dcsearch.scoring.scorer import RegionScorer
from dcsearch.scoring.torch_engine import TorchEngine
from dcsearch.vocabulary import Vocabulary
from tests.conftest import WORDS

Box = tuple[float, float, float, float]
END = -0.25  # log p of the end of every phrase
A, B, C = (0.0, 0.0, 10.0, 10.0), (20.0, 0.0, 40.0, 10.0), (50.0, 50.0, 60.0, 60.0)


class Seen(NamedTuple):
    """A region that the network is said to find, with the log-likelihood of each phrase."""

    box: Box
    says: dict[str, float]
    objectness: float = 1.0


class World:
    """Hand-made photos, and a scorer that knows what each of their regions says."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.photos: list[AnnotatedPhoto] = []
        self.seen: list[Seen] = []
        self.descriptions: list[Description] = []

    def add(self, seen: Sequence[Seen], annotated: Sequence[tuple[Box, str]] = ()) -> None:
        """One more photo: what is found in it, and the boxes and phrases of its annotation."""
        number = len(self.photos)
        path = self.folder / f"{number}.png"
        Image.new("RGB", (4, 4)).save(path)
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
    def scorer(self) -> TorchEngine:
        seen = self.seen

        class Stub:
            name, sha256, vocabulary = "hand", "00ff", Vocabulary(WORDS)
            embeds, probes = False, None
            checkpoint = SimpleNamespace(config=SimpleNamespace(method="fcln"))

            def words_and_end(
                self, codes: np.ndarray, phrases: Sequence[Phrase]
            ) -> tuple[np.ndarray, np.ndarray]:
                rows = [seen[int(code)] for code in codes[:, 0]]
                words = np.array(
                    [[row.says[phrase.text] - END for phrase in phrases] for row in rows],
                    dtype=np.float32,
                ).reshape(len(rows), len(phrases))
                return words, np.full_like(words, END)

        return cast(TorchEngine, Stub())

    def evaluate(self, **options: Any) -> Report:
        """The report about all photos."""
        return evaluate_retrieval(self.photos, self.descriptions, self.scorer, **options)

    def figures(self, *, phrases: int, **scoring: Any) -> dict[str, float]:
        """Figures of one query about the only photo that has so many phrases."""
        scorings = [Scoring(**scoring)]
        return figures(self.evaluate(queries=1, phrases=phrases, seeds=1, scorings=scorings))


def figures(report: Report) -> dict[str, float]:
    """The values of the first row."""
    return {name: each.value for name, each in report.tables[0].rows[0].values.items()}


def recall(found: dict[str, float]) -> list[float]:
    return [found["R@1"], found["R@5"], found["R@10"]]


def localization(found: dict[str, float]) -> list[float]:
    return [found["IoU@0.1"], found["IoU@0.3"], found["IoU@0.5"]]


def best_regions(
    scorer: RegionScorer[TorchEngine],
    codes: np.ndarray,
    phrases: Sequence[Phrase],
    *,
    photos: np.ndarray,
    phrase_free: np.ndarray,
    end: bool,
) -> tuple[np.ndarray, np.ndarray]:
    """The best regions by all values, which a world's stub tells."""
    words, ends = scorer.engine.words_and_end(codes, phrases)
    values = words + ends * end + phrase_free[:, None]
    rows = [np.flatnonzero(photos == photo) for photo in np.unique(photos)]
    regions = np.array([own[values[own].argmax(axis=0)] for own in rows], dtype=int)
    regions = regions.reshape(-1, len(phrases))
    return np.take_along_axis(values, regions, axis=0), regions


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr("dcsearch.evaluation.scoring.best_regions", best_regions)
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
    assert (by_logarithm["median rank"], by_logarithm["MRR"]) == (1.0, 1.0)
    assert recall(by_logarithm) == [1.0, 1.0, 1.0]
    by_probability = world.figures(phrases=2, mean="probability")
    assert (by_probability["median rank"], by_probability["MRR"]) == (2.0, 1 / 2)
    assert recall(by_probability) == [0.0, 1.0, 1.0]


def test_each_phrase_has_its_own_best_region(world: World) -> None:
    world.add([*pets(-1, -9), *pets(-9, -2)], ASKED)  # mean of the best: -1.5
    world.add(pets(-2, -2))
    assert world.figures(phrases=2)["median rank"] == 1


def test_photos_that_tie_share_their_mean_rank(world: World) -> None:
    world.add(pets(-3, -3), ASKED)
    world.add(pets(-2, -4))
    world.add(pets(-4, -2))
    world.add(pets(-1, -1))  # better
    world.add(pets(-9, -9))  # worse
    found = world.figures(phrases=2)
    assert found["median rank"] == (2 + 3 + 4) / 3
    assert recall(found) == [0.0, 1.0, 1.0]


def test_a_photo_without_regions_ranks_last(world: World) -> None:
    world.add(pets(-30, -30), ASKED)
    world.add([])
    world.add([])
    assert world.figures(phrases=2)["median rank"] == 1


def test_a_source_photo_without_regions_is_found_last_and_nowhere(world: World) -> None:
    world.add([], ASKED)
    world.add(pets(-30, -30))
    world.add([])
    found = world.figures(phrases=2)
    assert found["median rank"] == 2.5
    assert localization(found) == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("mean", ["log-probability", "probability"])
def test_a_phrase_without_a_known_word_leaves_the_ranking_to_the_others(
    mean: str, world: World
) -> None:
    world.add(pets(-3, 0), [(A, "a dog"), (B, "xyzzy")])
    world.add(pets(-2, 0))
    world.add(pets(-4, 0))
    world.add(pets(-5, 0))
    assert world.figures(phrases=2, mean=mean)["median rank"] == 2


def test_phrases_without_any_known_word_tell_no_photo_from_another(world: World) -> None:
    world.add(pets(0, 0), [(A, "xyzzy")])
    world.add(pets(0, 0))
    world.add(pets(0, 0))
    found = world.figures(phrases=1)
    assert found["median rank"] == 2.0
    assert found["IoU@0.1"] == 0.0


def test_very_small_probabilities_keep_their_order(world: World) -> None:
    world.add(pets(-110, -110), ASKED)
    world.add(pets(-120, -120))
    world.add(pets(-130, -130))
    assert world.figures(phrases=2, mean="probability")["median rank"] == 1


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
    found = world.figures(phrases=2)
    assert localization(found) == [1.0, 1.0, 0.5]
    assert found["IoU@0.5, single box"] == 0.5
    assert found["median IoU"] == pytest.approx((1 + 1 / 3) / 2)


def test_localization_looks_at_the_source_photo_and_not_at_the_best(world: World) -> None:
    world.add(pets(-9, -9, where=A), [(A, "a dog"), (C, "a cat")])
    world.add(pets(-1, -1, where=C))
    found = world.figures(phrases=2)
    assert found["median rank"] == 2
    assert localization(found) == [0.5, 0.5, 0.5]


def test_objectness_has_its_say_in_the_alignment(world: World) -> None:
    faint = Seen(B, {"a dog": -1.0}, objectness=math.exp(-3 / OBJECTNESS_WEIGHT))
    clear = Seen(A, {"a dog": -2.0}, objectness=math.exp(-1 / OBJECTNESS_WEIGHT))
    world.add([faint, clear], [(A, "a dog")])
    assert world.figures(phrases=1)["IoU@0.5"] == 1.0  # -3 against -4


def test_any_box_of_a_phrase_is_right_and_a_single_one_is_reported_beside(world: World) -> None:
    boxes = [(10.0 * k, 80.0, 10.0 * k + 9, 89.0) for k in range(4)]
    world.add([Seen(boxes[2], {"a man": -1.0})], [(box, "a man") for box in boxes])
    found = [figures(world.evaluate(queries=1, phrases=1, seeds=seeds)) for seeds in (1, 40)]
    assert [each["IoU@0.5"] for each in found] == [1.0, 1.0]
    assert found[0]["IoU@0.5, single box"] in (0.0, 1.0)
    assert 0.05 <= found[1]["IoU@0.5, single box"] <= 0.5  # about a quarter


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
    assert cures.sentence(caught.value) == (
        "only 1 photos have 2 phrases or more; ask for at most 1 with --queries"
    )


def test_a_pool_is_a_draw_of_the_photos(world: World) -> None:
    for number in range(6):
        world.add(pets(-number, -number), ASKED)
    report = world.evaluate(images=3, queries=3, phrases=2, seeds=8)
    assert report.settings["photos"] == 3
    row = report.tables[0].rows[0].values  # all three are asked for: ranks 1, 2, 3
    assert (row["median rank"].value, row["median rank"].deviation) == (2, 0)
    assert row["MRR"].value == pytest.approx((1 + 1 / 2 + 1 / 3) / 3)
    assert recall(figures(report)) == [pytest.approx(1 / 3), 1.0, 1.0]


def test_a_pool_larger_than_all_photos_is_all_photos(world: World) -> None:
    world.add(pets(-1, -1), ASKED)
    world.add(pets(-2, -2))
    report = world.evaluate(images=1000, queries=1, phrases=2, seeds=2, regions=7)
    assert report.settings == {
        "photos": 2, "queries": 1, "phrases": 2, "regions": 7, "regions from": "model",
        "seeds": 2, "scoring": "likelihood",
    }  # fmt: skip
    assert (report.model_name, report.model_sha256) == ("hand", "00ff")


def test_only_the_best_regions_are_looked_at(world: World) -> None:
    world.add([*pets(-9, -9), *pets(-1, -1)], ASKED)
    world.add(pets(-5, -5))
    assert figures(world.evaluate(queries=1, phrases=2, seeds=1, regions=1))["median rank"] == 2
    assert figures(world.evaluate(queries=1, phrases=2, seeds=1, regions=2))["median rank"] == 1


def test_long_phrases_are_not_asked(world: World) -> None:
    world.add(pets(-1, -1), ASKED)
    with pytest.raises(UsageError, match="only 0 photos have 3 phrases"):
        world.figures(phrases=3)  # the third would be "never drawn"


# reports


def test_figures_are_mean_and_deviation_over_the_seeds(world: World) -> None:
    for number in range(9):
        world.add(pets(-number, -1), [(A, "a dog"), (C, "a cat")])
    reports = world.evaluate(queries=4, phrases=1, seeds=2).tables[0].rows[0].values
    alone = figures(world.evaluate(queries=4, phrases=1, seeds=1))["MRR"]
    other = 2 * reports["MRR"].value - alone
    assert reports["MRR"].deviation == pytest.approx(statistics.stdev([alone, other]))
    assert (
        world.evaluate(queries=4, phrases=1, seeds=1).tables[0].rows[0].values["MRR"].deviation
        is None
    )


def test_a_report_has_the_papers_rows_curves_and_examples_and_becomes_json(world: World) -> None:
    for number in range(12):
        world.add(pets(-number, -number, where=A), ASKED)
    report = world.evaluate(queries=12, phrases=2, seeds=1)
    names = [(row.name, row.published) for row in report.tables[0].rows]
    assert names[0] == ("FCLN, likelihood", False)
    assert ("Region RNN", True) in names
    recalls, overlaps = report.curves
    assert recalls.lines["FCLN, likelihood"][1][:3] == (1 / 12, 2 / 12, 3 / 12)
    assert overlaps.lines["FCLN, likelihood"][1][-1] == 0.5  # the dog's region is the dog's box
    assert [example.title.split(":")[0] for example in report.best[:2]] == [
        "rank 1 of 12", "rank 2 of 12",
    ]  # fmt: skip
    assert report.worst[0].title.startswith("rank 12 of 12: a ")
    boxes = {(mark.box, mark.text, mark.truth) for mark in report.best[0].boxes}
    assert boxes == {
        (A, "a dog", True), (A, "a dog", False), (B, "a cat", True), (A, "a cat", False),
    }  # fmt: skip
    found = json.loads(json.dumps(report.to_json()))
    assert found["tables"][0]["rows"][0]["values"]["R@1"]["mean"] == 1 / 12
    assert report.value("R@10") == 10 / 12


def test_progress_is_told_for_phrases(world: World) -> None:
    for _ in range(250):
        world.add(pets(-1, -1), ASKED)
    told: list[tuple[str, int, int]] = []
    world.evaluate(
        queries=1, phrases=1, seeds=1,
        on_progress=lambda what, done, of: told.append((what, done, of)),
    )  # fmt: skip
    assert told == [("phrases", 200, 250), ("phrases", 250, 250)]


# scorings


def test_without_end_the_words_alone_count(world: World) -> None:
    world.add([Seen(A, {"a dog": -3.0})], [(A, "a dog")])
    world.add([Seen(A, {"a dog": -2.0})])
    scores = [
        score_phrases(world.descriptions, ["a dog"], world.scorer, [Scoring(**own)])[
            0
        ].scores.tolist()
        for own in ({}, {"end": False}, {"per_word": True}, {"end": False, "per_word": True})
    ]
    assert scores[0] == [[-3.0], [-2.0]]
    assert scores[1] == [[-3.0 - END], [-2.0 - END]]
    assert scores[2] == [[-1.0], [pytest.approx(-2 / 3)]]  # two words and END
    assert scores[3] == [[(-3.0 - END) / 2], [(-2.0 - END) / 2]]


def test_the_weight_of_objectness_is_an_option(world: World) -> None:
    world.add([Seen(A, {"a dog": -1.0}, objectness=math.exp(-3))])
    aligned = score_phrases(
        world.descriptions, ["a dog"], world.scorer,
        [Scoring(objectness_weight=0), Scoring(objectness_weight=4)],
    )  # fmt: skip
    assert [each.scores[0, 0] for each in aligned] == [-1, pytest.approx(-13, abs=1e-5)]


def test_the_prior_is_the_mean_probability_over_all_regions(world: World) -> None:
    likely, unlikely = math.log(0.5), math.log(0.1)
    world.add(pets(likely, unlikely))
    world.add(pets(unlikely, unlikely))
    world.add([])
    (aligned,) = score_phrases(
        world.descriptions, ["a dog", "a cat"], world.scorer, [Scoring(prior=1.0)], batch=1
    )
    expected = [[math.log(0.5 / 0.3), 0.0], [math.log(0.1 / 0.3), 0.0], [-1e9, -1e9]]
    assert aligned.scores == pytest.approx(np.array(expected), abs=1e-5)


def test_unknown_words_are_dropped_or_spoken() -> None:
    asked: list[tuple[int, ...]] = []

    class Stub:
        vocabulary, embeds, probes = Vocabulary(WORDS), False, None

        def words_and_end(
            self, codes: np.ndarray, phrases: Sequence[Phrase]
        ) -> tuple[np.ndarray, np.ndarray]:
            asked.extend(phrase.tokens for phrase in phrases)
            none = np.zeros((len(codes), len(phrases)), dtype=np.float32)
            return none, none

    photo = Description(
        width=9, height=9, boxes=np.zeros((1, 4), dtype=np.float32), captions=("",),
        objectness=np.ones(1, dtype=np.float32), codes=np.zeros((1, 1), dtype=np.float16),
    )  # fmt: skip
    score_phrases(
        [photo], ["a xyzzy dog"], cast(TorchEngine, Stub()),
        [Scoring(), Scoring(unknown="spoken")],
    )  # fmt: skip
    vocabulary = Vocabulary(WORDS)
    assert asked == [tuple(vocabulary.encode("a dog")), tuple(vocabulary.encode("a xyzzy dog"))]


def test_each_scoring_has_its_row(world: World) -> None:
    world.add(pets(-2, -6), ASKED)
    world.add(pets(-1, -8))
    scorings = [Scoring(), Scoring(mean="probability", objectness_weight=0)]
    report = world.evaluate(queries=1, phrases=2, seeds=1, scorings=scorings)
    default, paper = report.tables[0].rows[:2]
    assert (default.name, paper.name) == (
        "FCLN, likelihood",
        "FCLN, mean probability, objectness 0",
    )
    assert (default.values["median rank"].value, paper.values["median rank"].value) == (1, 2)


@pytest.mark.parametrize(
    ("own", "name"),
    [
        ({"mean": "probability"}, "mean probability, fused"),
        ({"end": False}, "without END, fused"),
        ({"per_word": True}, "per word, fused"),
        ({"unknown": "spoken"}, "unknown words spoken, fused"),
        ({"objectness_weight": 0}, "objectness 0, fused"),
        ({"prior": 0.5}, "prior 0.5, fused"),
        ({"hubness": 0.5}, "hubness 0.5, fused"),
        ({"similarity": 10}, "likelihood 0.5, similarity 10"),
        ({"likelihood": 0, "similarity": 2.5}, "likelihood 0, similarity 2.5"),
        ({"likelihood": 0}, "embedding"),
        ({}, "fused"),
    ],
)
def test_a_scoring_is_named_by_what_differs_from_a_query(own: dict[str, Any], name: str) -> None:
    assert Scoring(**{"likelihood": 0.5, "similarity": 15.0, **own}).name == name


def test_other_scorings_are_each_another_one() -> None:
    chosen = Scoring(objectness_weight=1.0)  # is among them anyway
    for embedding, probes in itertools.product((False, True), repeat=2):
        others = other_scorings(chosen, embedding=embedding, probes=probes)
        assert len({chosen, *others}) == 1 + len(others)
        assert any(one.similarity for one in others) == embedding
        assert any(one.hubness != HUBNESS_WEIGHT for one in others) == probes


# what cannot be measured


def test_an_unknown_mean_is_refused(world: World) -> None:
    with pytest.raises(UsageError, match="no mean 'median'; choose log-probability or probab"):
        world.figures(phrases=1, mean="median")


def test_no_photos_are_refused(world: World) -> None:
    with pytest.raises(DataError, match="no photos to evaluate on"):
        world.figures(phrases=1)


@pytest.mark.parametrize("scoring", [{"objectness_weight": -1.0}, {"prior": math.nan}])
def test_weights_below_nothing_are_refused(scoring: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="at least 0"):
        Scoring(**scoring)  # type: ignore[arg-type]


def test_no_such_treatment_of_unknown_words() -> None:
    with pytest.raises(UsageError, match="dropped or spoken"):
        Scoring(unknown="guessed")


@pytest.mark.parametrize("content", [None, b"no photo"])
def test_a_photo_that_cannot_be_opened_is_named(
    content: bytes | None, world: World, tiny_checkpoint: Checkpoint
) -> None:
    world.add(pets(-1, -1), ASKED)
    path = world.photos[0].path
    path.unlink()
    if content:
        path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        list(describe_annotated(world.photos, Describer(tiny_checkpoint, device="cpu")))
    assert str(caught.value).startswith(f"photo {path} cannot be opened: ")


# parts, and the whole with a real network


@pytest.mark.parametrize("batch", [1, 3, 100])
def test_batches_do_not_change_alignments(batch: int, world: World) -> None:
    chance = np.random.default_rng(0)
    for number in range(7):
        world.add([pets(*chance.uniform(-9, -1, 2))[0] for _ in range(number % 4)], ASKED)
    texts = ["a dog", "xyzzy", "a cat"]
    ((scores, aligned),) = score_phrases(
        world.descriptions, texts, world.scorer, [Scoring()], batch=batch
    )
    for number, description in enumerate(world.descriptions):
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
    scorer = TorchEngine(tiny_checkpoint, device="cpu")
    first, second = (
        evaluate_retrieval(
            photos, list(describe_annotated(photos, describer, batch=batch)), scorer,
            queries=5, phrases=3, seeds=3,
        )
        for batch in (16, 3)
    )  # fmt: skip
    assert first.settings == second.settings
    assert first.model_sha256 == tiny_checkpoint.sha256
    assert figures(first) == pytest.approx(figures(second), abs=0.02)
    assert 1 <= first.value("median rank") <= 5
    assert first.value("R@5") == 1.0
