"""Retrieval: the paper's section 4.2, photos found by phrases and phrases found in their photos.

A pool of photos; queries of a few different phrases drawn from one photo each. Every phrase is
aligned to its best region in every photo, photos are ranked by their mean score over the phrases.
Reported are how high the source photo ranks and how well the aligned region of the source photo
covers a box of each phrase.

In Visual Genome, the paper's data, hardly a phrase is said of two boxes of a photo. Where one is
("person", of each of five), any of its boxes is right; the figure against a single one of them,
drawn at random, is reported beside.
"""

import random
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from torchvision.ops import box_iou

from dcsearch.data.regions import AnnotatedPhoto
from dcsearch.describe import Description
from dcsearch.errors import Cure, DataError, UsageError
from dcsearch.evaluation.progress import Progress, silent
from dcsearch.evaluation.published import retrieval_rows
from dcsearch.evaluation.report import Box, Curve, Example, MarkedBox, Measure, Report, Row, Table
from dcsearch.evaluation.scoring import PhraseScores, Scoring, score_phrases
from dcsearch.model.config import METHODS
from dcsearch.scoring.torch_engine import TorchEngine

RECALLS = (1, 5, 10)
OVERLAPS = (0.1, 0.3, 0.5)
FIGURES = (
    *(f"R@{k}" for k in RECALLS),
    *("median rank", "MRR"),
    *(f"IoU@{overlap}" for overlap in OVERLAPS),
    *("median IoU", "IoU@0.5, single box"),
)
_CURVE_RANKS = (1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 70, 100)
_SHOWN = 5  # best and worst queries


class Asked(NamedTuple):
    """A phrase of a query, the boxes it describes in the source photo, and one of them."""

    text: str
    boxes: tuple[Box, ...]
    box: Box


class Query(NamedTuple):
    """Phrases drawn from one photo of the pool."""

    photo: int  # index in the pool
    phrases: tuple[Asked, ...]


class Draw(NamedTuple):
    """A pool and its queries, of one seed."""

    pool: list[int]  # indices of photos
    queries: list[Query]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The ranks and overlaps of one draw."""

    ranks: np.ndarray  # (Q,) of the source photos, 1 is best; tied photos share their mean rank
    overlaps: np.ndarray  # (Q * phrases,) IoU of the aligned region with the phrase's boxes
    single: np.ndarray  # (Q * phrases,) with one box of the phrase, drawn at random

    def figures(self) -> dict[str, float]:
        """FIGURES, shares 0 to 1; the median rank counts from 1, the median IoU is an IoU."""
        values = (
            *(float(np.mean(self.ranks <= k)) for k in RECALLS),
            *(float(np.median(self.ranks)), float(np.mean(1 / self.ranks))),
            *(float(np.mean(self.overlaps >= overlap)) for overlap in OVERLAPS),
            *(float(np.median(self.overlaps)), float(np.mean(self.single >= 0.5))),
        )
        return dict(zip(FIGURES, values, strict=True))


def draw_queries(
    photos: Sequence[AnnotatedPhoto], *, queries: int, phrases: int, seed: int
) -> list[Query]:
    """Queries of `phrases` different short phrases of one photo; no photo is drawn twice.

    Raises:
        UsageError: not that many photos have that many phrases.
    """
    chance = random.Random(seed)
    askable = []
    for index, photo in enumerate(photos):
        boxes_of: dict[str, list[Box]] = {}
        for region in photo.regions:
            for text in dict.fromkeys(region.phrases):
                boxes_of.setdefault(text, []).append(region.box)
        if len(boxes_of) >= phrases:
            askable.append((index, boxes_of))
    if len(askable) < queries:
        raise UsageError(
            f"only {len(askable)} photos have {phrases} phrases or more",
            Cure.FEWER_QUERIES,
            photos=len(askable),
        )
    drawn = []
    for index, boxes_of in chance.sample(askable, queries):
        texts = chance.sample(list(boxes_of), phrases)
        asked = tuple(
            Asked(text, tuple(boxes_of[text]), chance.choice(boxes_of[text])) for text in texts
        )
        drawn.append(Query(index, asked))
    return drawn


def evaluate_retrieval(
    photos: Sequence[AnnotatedPhoto],
    described: Sequence[Description],
    engine: TorchEngine,
    *,
    images: int = 1000,
    queries: int = 100,
    phrases: int = 4,
    regions: int = 100,
    seeds: int = 10,
    scorings: Sequence[Scoring] = (Scoring(),),
    source: str = "model",
    on_progress: Progress = silent,
) -> Report:
    """The figures of `seeds` draws of a pool and its queries, beside the paper's Table 2.

    Phrases without a known word are drawn like all others and tell nothing of any region.

    Args:
        photos: annotated; the pool of each seed is drawn from them.
        described: what the network saw in each, boxes in the annotation's frame.
        engine: of the same checkpoint.
        images: in the pool; all where there are fewer.
        queries: a seed.
        phrases: a query.
        regions: of a photo at the most, the best by objectness.
        seeds: draws, from seed 0 on.
        scorings: ways to score; a row for each.
        source: where the boxes come from, for the settings.
        on_progress: called with ("phrases", photos done, photos).

    Raises:
        UsageError: too few photos with that many phrases.
        DataError: no photos.
    """
    if not photos:
        raise DataError("there are no photos to evaluate on")
    draws = [
        draw(photos, images=images, queries=queries, phrases=phrases, seed=seed)
        for seed in range(seeds)
    ]
    described = [_best(description, regions) for description in described]
    texts = sorted({a.text for _, drawn in draws for query in drawn for a in query.phrases})
    scored = score_phrases(described, texts, engine, scorings, on_progress=on_progress)
    outcomes = [
        [outcome(one, described, texts, scores, mean=scoring.mean) for one in draws]
        for scoring, scores in zip(scorings, scored, strict=True)
    ]
    method = METHODS[engine.checkpoint.config.method]
    rows = [
        Row(
            name=f"{method}, {scoring.name}",
            values=_summary([each.figures() for each in own]),
        )
        for scoring, own in zip(scorings, outcomes, strict=True)
    ]
    best, worst = _examples(photos, described, texts, draws[0], scored[0], outcomes[0][0])
    return Report(
        protocol="retrieval",
        model_name=engine.name,
        model_sha256=engine.sha256,
        settings={
            "photos": min(images, len(photos)),
            "queries": queries,
            "phrases": phrases,
            "regions": regions,
            "regions from": source,
            "seeds": seeds,
            "scoring": scorings[0].name,
        },
        tables=(Table(name="Retrieval", columns=FIGURES, rows=(*rows, *retrieval_rows())),),
        curves=(_recall_curve(rows, outcomes), _overlap_curve(rows, outcomes)),
        best=best,
        worst=worst,
        notes=(
            "The paper's rows were measured on Visual Genome, 1,000 photos, with VGG-16 networks.",
        ),
    )


def draw(
    photos: Sequence[AnnotatedPhoto], *, images: int, queries: int, phrases: int, seed: int
) -> Draw:
    """The pool and the queries of a seed."""
    chance = random.Random(f"pool {seed}")
    pool = sorted(chance.sample(range(len(photos)), min(images, len(photos))))
    own = [photos[index] for index in pool]
    return Draw(pool, draw_queries(own, queries=queries, phrases=phrases, seed=seed))


def outcome(
    one: Draw,
    described: Sequence[Description],
    texts: Sequence[str],
    scored: PhraseScores,
    *,
    mean: str,
) -> Outcome:
    """Ranks and overlaps of a draw's queries.

    Args:
        one: the draw.
        described: of all photos.
        texts: M, in the order of the scores' columns.
        scored: all photos and texts.
        mean: over a query's phrases, of "log-probability" or "probability".
    """
    column = {text: index for index, text in enumerate(texts)}
    ranks, overlaps, single = [], [], []
    for query in one.queries:
        columns = [column[asked.text] for asked in query.phrases]
        values = scored.scores[np.array(one.pool)][:, columns].astype(np.float64)
        values = values[:, ~np.isnan(values).any(axis=0)]  # of the phrases that say something
        if values.shape[1] == 0:
            values = np.zeros((len(one.pool), 1))
        if mean == "probability":
            values = np.exp(values)
        ranks.append(mean_rank(values.mean(axis=1), query.photo))
        source = one.pool[query.photo]
        for asked, index in zip(query.phrases, columns, strict=True):
            region = int(scored.regions[source, index])
            overlaps.append(_overlap(described[source], region, asked.boxes))
            single.append(_overlap(described[source], region, [asked.box]))
    return Outcome(ranks=np.array(ranks), overlaps=np.array(overlaps), single=np.array(single))


def mean_rank(scores: np.ndarray, index: int) -> float:
    """Rank of one of N scores, 1 the highest; those that tie share the mean of their ranks."""
    better = int((scores > scores[index]).sum())
    equal = int((scores == scores[index]).sum())
    return better + (equal + 1) / 2


def _overlap(description: Description, region: int, boxes: Sequence[Box]) -> float:
    """Highest IoU of an aligned region with some boxes; 0 where nothing is aligned."""
    if region < 0:
        return 0.0
    own = torch.from_numpy(description.boxes[region : region + 1])
    return float(box_iou(own, torch.tensor(boxes, dtype=own.dtype)).max())


def _best(description: Description, regions: int) -> Description:
    """The best regions of a photo, as many as asked for."""
    return replace(
        description,
        boxes=description.boxes[:regions],
        objectness=description.objectness[:regions],
        captions=description.captions[:regions],
        codes=description.codes[:regions],
        placed=None if description.placed is None else description.placed[:regions],
    )


def _summary(seeds: Sequence[dict[str, float]]) -> dict[str, Measure]:
    """Mean and standard deviation over the seeds of each figure."""
    return {
        name: Measure(
            value=statistics.fmean(figures[name] for figures in seeds),
            deviation=statistics.stdev(figures[name] for figures in seeds)
            if len(seeds) > 1
            else None,
        )
        for name in FIGURES
    }


def _recall_curve(rows: Sequence[Row], outcomes: Sequence[Sequence[Outcome]]) -> Curve:
    ranks = [np.concatenate([each.ranks for each in own]) for own in outcomes]
    return Curve(
        name="recall at k",
        x_label="k",
        y_label="share of queries whose photo is among the first k",
        lines={
            row.name: (
                tuple(float(k) for k in _CURVE_RANKS),
                tuple(float(np.mean(own <= k)) for k in _CURVE_RANKS),
            )
            for row, own in zip(rows, ranks, strict=True)
        },
    )


def _overlap_curve(rows: Sequence[Row], outcomes: Sequence[Sequence[Outcome]]) -> Curve:
    overlaps = [np.concatenate([each.overlaps for each in own]) for own in outcomes]
    levels = tuple(round(0.05 * step, 2) for step in range(1, 20))
    return Curve(
        name="localization",
        x_label="IoU",
        y_label="share of phrases whose aligned region overlaps that much",
        lines={
            row.name: (levels, tuple(float(np.mean(own >= level)) for level in levels))
            for row, own in zip(rows, overlaps, strict=True)
        },
    )


def _examples(
    photos: Sequence[AnnotatedPhoto],
    described: Sequence[Description],
    texts: Sequence[str],
    one: Draw,
    scored: PhraseScores,
    result: Outcome,
) -> tuple[tuple[Example, ...], tuple[Example, ...]]:
    """The queries whose photo ranked best and worst, drawn on that photo."""
    column = {text: index for index, text in enumerate(texts)}

    def example(number: int) -> Example:
        query = one.queries[number]
        photo = one.pool[query.photo]
        boxes = []
        for asked in query.phrases:
            boxes += [MarkedBox(box=box, text=asked.text, truth=True) for box in asked.boxes]
            region = int(scored.regions[photo, column[asked.text]])
            if region >= 0:
                found = described[photo].boxes[region].tolist()
                boxes.append(MarkedBox(box=tuple(found), text=asked.text, truth=False))
        asked_for = ", ".join(asked.text for asked in query.phrases)
        return Example(
            title=f"rank {result.ranks[number]:g} of {len(one.pool)}: {asked_for}",
            path=photos[photo].path,
            width=photos[photo].width,
            height=photos[photo].height,
            boxes=tuple(boxes),
        )

    order = np.argsort(result.ranks, kind="stable").tolist()
    worst = [number for number in reversed(order) if number not in order[:_SHOWN]][:_SHOWN]
    return tuple(map(example, order[:_SHOWN])), tuple(map(example, worst))
