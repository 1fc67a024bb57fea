"""Indexes whose regions have the codes that a test gives them, and what a plain loop answers."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pytest
from sqlalchemy import select

from dcsearch.alignment import align
from dcsearch.checkpoint.header import CheckpointHeader
from dcsearch.question import Question
from dcsearch.scoring.formula import SCORES, Score
from dcsearch.scoring.phrase import Phrase, read_phrase
from indexer.answer import Answer
from indexer.photos.origin import PhotoOrigin
from indexer.search.searcher import Searcher
from indexer.store.records import Described, IndexModel, PhotoFile
from indexer.store.schema import PHOTO
from indexer.store.sqlite import SQLiteStore

WIDTH, HEIGHT = 160, 120
CODE_SIZE = 16  # of the tiny network


class Regions(NamedTuple):
    """What a model saw in a photo."""

    boxes: np.ndarray
    objectness: np.ndarray
    captions: tuple[str, ...]
    codes: np.ndarray


def some_regions(chance: np.random.Generator, count: int, *, spread: float = 1.0) -> Regions:
    """Boxes, objectness and codes drawn by chance; codes that spread less are more alike."""
    low = chance.uniform(0, 0.6, size=(count, 2))
    high = low + chance.uniform(0.1, 0.4, size=(count, 2))
    return Regions(
        boxes=(np.hstack([low, high]) * [WIDTH, HEIGHT, WIDTH, HEIGHT]).astype("f4"),
        objectness=np.sort(chance.uniform(0.05, 1.0, size=count))[::-1].astype("f4"),
        captions=tuple(f"thing {number}" for number in range(count)),
        codes=np.abs(1 + spread * chance.normal(size=(count, CODE_SIZE))).astype("f2"),
    )


def some_photos(
    count: int, *, seed: int = 0, least: int = 0, most: int = 8, spread: float = 1.0
) -> dict[str, Regions]:
    """Photos /p/000.jpg and on, each of `least` to `most` regions."""
    chance = np.random.default_rng(seed)
    return {
        f"/p/{number:03}.jpg": some_regions(chance, int(regions), spread=spread)
        for number, regions in enumerate(chance.integers(least, most + 1, size=count))
    }


def write(database: SQLiteStore, header: CheckpointHeader, photos: Mapping[str, Regions]) -> None:
    """Store photos as described by a model, in place of what the index had at their paths."""
    model = IndexModel(
        name=header.name, sha256=header.sha256, config=header.recorded_config, provenance={}
    )
    with database.writing() as index:
        index.use_model(model)
        index.put(
            Described(
                file=PhotoFile(path, 1, 1),
                content_hash="0" * 64,
                width=WIDTH,
                height=HEIGHT,
                origin=PhotoOrigin(taken_at=None, camera=""),
                regions=seen,
            )
            for path, seen in photos.items()
        )


def photo_ids(database: SQLiteStore) -> dict[str, int]:
    """The id of every photo that the index knows, by path."""
    with database.connection() as connection:
        return {
            str(path): number
            for number, path in connection.execute(select(PHOTO.c.id, PHOTO.c.path))
        }


def set_state(database: SQLiteStore, path: str, state: str) -> None:
    """Give a photo another state, as indexing does."""
    number = photo_ids(database)[path]
    with database.writing() as index:
        index.set_states({number: state})


def delete(database: SQLiteStore, *paths: str) -> None:
    """Remove photos from the index."""
    ids = photo_ids(database)
    with database.writing() as index:
        index.delete([ids[path] for path in paths])


class Found(NamedTuple):
    """A photo of an answer: the phrase, box and score of each of its regions."""

    path: str
    score: float
    regions: tuple[tuple[str, tuple[float, ...], float], ...]


def found(answer: Answer) -> list[Found]:
    """The photos of an answer in short."""
    return [
        Found(
            path=str(result.path),
            score=result.score,
            regions=tuple((one.phrase, one.box, one.score) for one in result.regions),
        )
        for result in answer.results
    ]


def assert_same(one: Sequence[Found], other: Sequence[Found]) -> None:
    """Two answers have the same photos and places in the same order, of the same scores."""

    def places(answer: Sequence[Found]) -> list[tuple[str, list[tuple[str, tuple[float, ...]]]]]:
        return [(photo.path, [region[:2] for region in photo.regions]) for photo in answer]

    def scores(answer: Sequence[Found]) -> list[float]:
        own = ([photo.score, *(region[2] for region in photo.regions)] for photo in answer)
        return [score for photo in own for score in photo]

    assert places(one) == places(other)
    assert scores(one) == pytest.approx(scores(other), abs=1e-3)


def plain_loop(
    searcher: Searcher,
    photos: Mapping[str, Regions],
    question: Question,
    *,
    top: int = 10,
    score: Score | None = None,
) -> list[Found]:
    """What answers a question by the definition: all regions of all photos, one photo at a time.

    Args:
        photos: in order of their ids.
    """
    landmarks = searcher.cache.current().landmarks
    engine = searcher.engine
    weights = SCORES[score or ("fused" if engine.embeds else "likelihood")]

    def values(codes: np.ndarray, phrase: Phrase) -> np.ndarray:
        likely = engine.word_log_likelihoods(codes, phrase).sum(axis=1, dtype=np.float64)
        if not engine.embeds:
            return weights.log_likelihood * likely
        near = engine.vectors(codes) @ engine.embedding.phrase(phrase)
        return weights.log_likelihood * likely + weights.cosine * near

    def less_of_photo(regions: Regions) -> float:
        if engine.probes is None or not len(regions.codes):
            return 0.0
        best = []
        for probe in engine.probes.vectors:
            near = engine.vectors(regions.codes) @ probe
            best.append(max(15 * near + 3 * np.log(regions.objectness)))
        return 0.3 * float(np.mean(best) - engine.probes.level)

    phrases = [read_phrase(text, searcher.vocabulary) for text in question.phrases]
    answers = []
    for path, regions in photos.items():
        scores = np.empty((len(regions.codes), len(phrases)))
        for column, phrase in enumerate(phrases):
            prior = np.log(np.exp(values(landmarks, phrase)).mean())
            scores[:, column] = values(regions.codes, phrase) - prior
            scores[:, column] += 3 * np.log(regions.objectness) - less_of_photo(regions)
        alignment = align(question, boxes=regions.boxes, scores=scores, width=WIDTH, height=HEIGHT)
        if alignment is not None:
            answered = tuple(
                (
                    question.phrases[column],
                    tuple(regions.boxes[row].tolist()),
                    float(scores[row, column]),
                )
                for column, row in alignment.regions
            )
            answers.append(Found(path, alignment.score, answered))
    answers.sort(key=lambda answer: -answer.score)
    return answers[:top]
