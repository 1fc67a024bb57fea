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
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torchvision.ops import box_iou

from dcsearch.data.regions import AnnotatedPhoto
from dcsearch.describe import Describer, Description
from dcsearch.errors import DataError, UsageError
from dcsearch.likelihood import LikelihoodScorer, Phrase, read_phrase, region_scores

RECALLS = (1, 5, 10)
OVERLAPS = (0.1, 0.3, 0.5)


Box = tuple[float, float, float, float]


class Asked(NamedTuple):
    """A phrase of a query, the boxes it describes in the source photo, and one of them."""

    text: str
    boxes: tuple[Box, ...]
    box: Box


class Query(NamedTuple):
    """Phrases drawn from one photo of the pool."""

    photo: int  # index in the pool
    phrases: tuple[Asked, ...]


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What one seed measured; shares are 0 to 1."""

    recall: dict[int, float]  # share of queries whose photo ranks within the first k
    median_rank: float  # 1 is best; tied photos share their mean rank
    reciprocal_rank: float  # mean of 1 / rank
    localization: dict[float, float]  # share of phrases whose aligned box has that IoU
    single_box: float  # the same at IoU .5 against one box of each phrase, drawn at random
    median_overlap: float  # IoU

    def to_json(self) -> dict[str, float]:
        """One flat mapping, "R@1", "median rank", "IoU@.5" and so on."""
        return {
            **{f"R@{k}": value for k, value in self.recall.items()},
            "median rank": self.median_rank,
            "MRR": self.reciprocal_rank,
            **{f"IoU@{threshold:.1f}": value for threshold, value in self.localization.items()},
            "median IoU": self.median_overlap,
            "IoU@0.5, single box": self.single_box,
        }


@dataclass(frozen=True, kw_only=True)
class RetrievalReport:
    """Figures of every seed, and what they were measured on."""

    photos: int  # in the pool
    queries: int  # a seed
    phrases: int  # a query
    regions: int  # a photo at the most
    mean: str  # "log-probability" or "probability", what is averaged over phrases
    model_name: str
    model_sha256: str
    seeds: tuple[Figures, ...]

    def summary(self) -> dict[str, tuple[float, float]]:
        """Mean and standard deviation over the seeds of each figure (0 for one seed)."""
        rows = [figures.to_json() for figures in self.seeds]
        return {
            name: (
                statistics.fmean(row[name] for row in rows),
                statistics.stdev(row[name] for row in rows) if len(rows) > 1 else 0.0,
            )
            for name in rows[0]
        }

    def to_json(self) -> dict[str, Any]:
        """Plain values for a file."""
        return {
            "protocol": "retrieval",
            "photos": self.photos,
            "queries": self.queries,
            "phrases": self.phrases,
            "regions": self.regions,
            "mean": self.mean,
            "model": {"name": self.model_name, "sha256": self.model_sha256},
            "summary": {
                name: {"mean": mean, "deviation": deviation}
                for name, (mean, deviation) in self.summary().items()
            },
            "seeds": [figures.to_json() for figures in self.seeds],
        }


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
            f"only {len(askable)} photos have {phrases} phrases or more; ask for at most "
            f"that many with --queries"
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
    describer: Describer,
    scorer: LikelihoodScorer,
    *,
    images: int = 1000,
    queries: int = 100,
    phrases: int = 4,
    seeds: int = 10,
    mean: str = "log-probability",
    on_progress: Callable[[str, int, int], None] | None = None,
) -> RetrievalReport:
    """The figures of `seeds` draws of a pool and its queries.

    Phrases without a known word are drawn like all others and tell nothing of any region.

    Args:
        photos: annotated; the pool of each seed is drawn from them.
        describer: finds the regions; its `regions` bounds them.
        scorer: of the same checkpoint.
        images: in the pool; all where there are fewer.
        queries: a seed.
        phrases: a query.
        seeds: draws, from seed 0 on.
        mean: what is averaged over a query's phrases, "log-probability" or "probability" (the
            paper's word).
        on_progress: told (what, done, of).

    Raises:
        UsageError: an unknown mean, or too few photos with that many phrases.
        DataError: a photo cannot be opened.
    """
    if mean not in ("log-probability", "probability"):
        raise UsageError(f"no mean {mean!r}; choose log-probability or probability")
    report = on_progress or (lambda what, done, of: None)
    if not photos:
        raise DataError("there are no photos to evaluate on")
    draws = []
    for seed in range(seeds):
        pool = sorted(random.Random(f"pool {seed}").sample(range(len(photos)),
                                                            min(images, len(photos))))  # fmt: skip
        chosen = draw_queries(
            [photos[i] for i in pool], queries=queries, phrases=phrases, seed=seed
        )
        draws.append((pool, chosen))

    described = list(describe_annotated(photos, describer, report))
    texts = sorted({asked.text for _, drawn in draws for q in drawn for asked in q.phrases})
    scores, aligned = align_all(described, texts, scorer, report)

    column = {text: index for index, text in enumerate(texts)}
    figures = []
    for pool, drawn in draws:
        ranks, overlaps, single = [], [], []
        for query in drawn:
            columns = [column[asked.text] for asked in query.phrases]
            values = scores[np.array(pool)][:, columns].astype(np.float64)  # (pool, phrases)
            values = values[:, ~np.isnan(values).any(axis=0)]  # of the phrases that say something
            if values.shape[1] == 0:
                values = np.zeros((len(pool), 1))
            if mean == "probability":
                values = np.exp(values)
            ranks.append(mean_rank(values.mean(axis=1), query.photo))
            source = pool[query.photo]
            for asked, index in zip(query.phrases, columns, strict=True):
                region = int(aligned[source, index])
                overlaps.append(_overlap(described[source], region, asked.boxes))
                single.append(_overlap(described[source], region, [asked.box]))
        figures.append(_figures(ranks, overlaps, single))
    return RetrievalReport(
        photos=min(images, len(photos)),
        queries=queries,
        phrases=phrases,
        regions=describer.regions,
        mean=mean,
        model_name=describer.checkpoint.name,
        model_sha256=describer.checkpoint.sha256,
        seeds=tuple(figures),
    )


def describe_annotated(
    photos: Sequence[AnnotatedPhoto],
    describer: Describer,
    report: Callable[[str, int, int], None],
    *,
    batch: int = 16,
) -> Iterator[Description]:
    """Description of each annotated photo, boxes in the annotation's frame, without captions.

    Raises:
        DataError: a photo cannot be opened.
    """
    for first in range(0, len(photos), batch):
        prepared = []
        for photo in photos[first : first + batch]:
            try:
                with Image.open(photo.path) as image:
                    frame = (photo.width, photo.height)
                    prepared.append(describer.prepare(image.convert("RGB"), frame=frame))
            except (OSError, ValueError) as error:
                raise DataError(f"photo {photo.path} cannot be opened: {error}") from None
        yield from describer.describe(prepared, captions=False)
        report("photos", min(first + batch, len(photos)), len(photos))


def align_all(
    described: Sequence[Description],
    texts: Sequence[str],
    scorer: LikelihoodScorer,
    report: Callable[[str, int, int], None],
    *,
    batch: int = 40,
) -> tuple[np.ndarray, np.ndarray]:
    """Score and index of the aligned region of every phrase in every photo.

    Returns:
        (P, M) float32 scores and (P, M) int64 indices. A photo without regions scores -1e9 and a
        phrase without a known word NaN; both align to -1.
    """
    scores = np.full((len(described), len(texts)), -1e9, dtype=np.float32)
    aligned = np.full((len(described), len(texts)), -1, dtype=np.int64)
    phrases: list[Phrase] = []
    columns: list[int] = []
    for column, text in enumerate(texts):
        try:
            phrases.append(read_phrase(text, scorer.checkpoint.vocabulary))
            columns.append(column)
        except UsageError:
            continue
    scores[:, sorted(set(range(len(texts))) - set(columns))] = np.nan
    if not columns:
        return scores, aligned
    for first in range(0, len(described), batch):
        chunk = described[first : first + batch]
        values = scorer.log_likelihoods(np.concatenate([d.codes for d in chunk]), phrases)  # (R, M)
        values = region_scores(values, np.concatenate([d.objectness for d in chunk]))
        start = 0
        for index, description in enumerate(chunk, start=first):
            own = values[start : start + len(description.codes)]
            start += len(description.codes)
            if len(own):
                scores[index, columns] = own.max(axis=0)
                aligned[index, columns] = own.argmax(axis=0)
        report("phrases", min(first + batch, len(described)), len(described))
    return scores, aligned


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


def _figures(ranks: Sequence[float], overlaps: Sequence[float], single: Sequence[float]) -> Figures:
    return Figures(
        recall={k: float(np.mean([rank <= k for rank in ranks])) for k in RECALLS},
        median_rank=float(np.median(ranks)),
        reciprocal_rank=float(np.mean([1 / rank for rank in ranks])),
        localization={t: float(np.mean([o >= t for o in overlaps])) for t in OVERLAPS},
        single_box=float(np.mean([o >= 0.5 for o in single])),
        median_overlap=float(np.median(overlaps)),
    )
