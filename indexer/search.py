"""Searching: a question in, the photos that answer it out, best first, with the places in them.

Every region of the index has a guessed score for every phrase, by the plane through the phrase's
log-likelihood (`dcsearch.plane`): FAISS finds the regions with the best guesses. Then, in rounds,
the regions that the best photos are aligned to are looked at closely, their exact scores replace
the guesses and mend the planes, until nothing changes any more among the best. What is answered is
exact; what was passed over was not worth a look by a guess with a margin. `exact` looks at all.
"""

import heapq
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, select

from dcsearch.alignment import BAR, Alignment, align, things
from dcsearch.errors import IndexUnusable, UsageError
from dcsearch.explanation import Explanation, explain
from dcsearch.likeness import Likeness
from dcsearch.model.header import CheckpointHeader
from dcsearch.phrase import Phrase, read_phrase
from dcsearch.plane import Plane
from dcsearch.prior import word_priors
from dcsearch.question import Question
from dcsearch.quick_likelihood import Landmarks, QuickLikelihood
from dcsearch.region_score import objectness_score
from dcsearch.vocabulary import Vocabulary
from indexer.answer import AlignedRegion, Answer, PhotoResult
from indexer.codes import PhotoRegions, StoredCodes, code_chunks, codes_of, photo_regions
from indexer.database import Database
from indexer.history import record_answer
from indexer.models import how_to_use
from indexer.schema import Model
from indexer.similar import Example
from indexer.vectors import StoredPoints, VectorCache, Vectors, nearness_query, score_query

Ints = NDArray[np.int64]
Floats = NDArray[np.floating[Any]]

PROPOSED = 2000  # regions that FAISS proposes for a phrase, at the least
PHOTOS = 400  # that are considered, at the least
AT_ONCE = 96  # photos whose alignments are looked at in a round, at the least
PROPOSALS = 3  # times that FAISS is asked, each time with better planes
ROUNDS = 20
FEW = 500  # regions of an index that are all looked at
MARGIN = 1.0  # deviations of the plane that a guess may be too low


@dataclass(frozen=True, kw_only=True)
class SearchOptions:
    """How much of an answer is wanted.

    Attributes:
        top: photos at the most.
        per_image: boxes of each phrase in each photo at the most.
        photo_ids: only these photos; None: all.
        exact: look at every region.
        explain: say what each word adds to a region's score.
        examples: what the question's phrases stand for that are no words but regions; their photos
            are no answers.
    """

    top: int = 10
    per_image: int = 1
    photo_ids: Ints | None = None
    exact: bool = False
    explain: bool = False
    examples: Mapping[str, Example] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            UsageError: one is below 1.
        """
        if self.top < 1 or self.per_image < 1:
            raise UsageError(
                f"--top and --per-image must be at least 1, got {self.top} and {self.per_image}"
            )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Column:
    """A phrase of the question: its prior, its likelihoods, and how they are guessed."""

    phrase: Phrase | None  # None: a region, whose like is sought
    prior: float  # log p(phrase)
    log_likelihoods: Callable[[Floats], Floats]  # (N,) of codes (N, E)
    plane: Plane | Likeness
    query: Callable[[], Floats]  # (d + 2,), what FAISS is asked, as far as the plane is known


class _Near:
    """The photos that are considered, with all their regions, and what is known of their scores.

    Attributes:
        photos: P, each with regions.
        starts: (P + 1,) the first row of each photo.
        points: (R, d).
        objectness: (R,) the objectness part of scores.
        exact: (R, M) scores, NaN where nobody looked yet.
        guessed: (R, M) scores, a margin above what the planes say.
    """

    def __init__(
        self, photos: Sequence[StoredPoints], columns: Sequence[_Column], *, sought: int
    ) -> None:
        """Guess the scores of photos; the first columns are `sought`, the others must not be."""
        self.sought = sought
        self.photos = [photo for photo in photos if len(photo.points)]
        counts = [len(photo.points) for photo in self.photos]
        self.starts = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
        regions = int(self.starts[-1])
        self.points = np.concatenate(
            [np.empty((0, len(columns[0].query()) - 2)), *(photo.points for photo in self.photos)],
            dtype=np.float32,
        )
        self.objectness = np.concatenate(
            [np.empty(0, np.float32), *(photo.objectness for photo in self.photos)]
        )
        self.exact = np.full((regions, len(columns)), np.nan)
        self.guessed = np.empty((regions, len(columns)))
        for number, column in enumerate(columns):
            self.guess(number, column)

    def looked_at(self) -> Ints:
        """The first rows, among those of the cache, of the photos that somebody looked at."""
        known = ~np.isnan(self.exact).all(axis=1)
        looked = np.logical_or.reduceat(known, self.starts[:-1]) if len(known) else known
        return np.array([self.photos[place].first for place in np.flatnonzero(looked)], np.int64)

    def take_over(self, before: "_Near") -> None:
        """Know what was known of the photos that were considered before, too."""
        places = {photo.first: place for place, photo in enumerate(before.photos)}
        for place, photo in enumerate(self.photos):
            if (known := places.get(photo.first)) is not None:
                self.exact[self.rows(place)] = before.exact[before.rows(known)]

    def guess(self, number: int, column: _Column) -> None:
        """Guess the scores of a column anew."""
        # To overlook what must not be there is worse than to look once more.
        margin = MARGIN if number < self.sought else 2 * MARGIN
        level = margin * column.plane.deviation - column.prior
        self.guessed[:, number] = column.plane(self.points) + self.objectness + level

    def all(self) -> range:
        """All photos."""
        return range(len(self.photos))

    def rows(self, photo: int) -> slice:
        """The rows of a photo."""
        return slice(int(self.starts[photo]), int(self.starts[photo + 1]))


@dataclass(frozen=True, kw_only=True)
class _Found:
    """A photo that answers.

    Attributes:
        scores: (R, M) of its regions for the question's phrases, NaN where nobody looked.
    """

    photo_id: int
    alignment: Alignment
    scores: Floats


class Searcher:
    """Answers questions from an index; safe to use from several threads."""

    def __init__(
        self, database: Database, header: CheckpointHeader, *, device: str = "auto"
    ) -> None:
        """Take an index and the checkpoint that made it.

        Args:
            device: that `exact` searches run on.

        Raises:
            IndexUnusable: the index holds no described photo, or another model's.
            CheckpointError: the checkpoint's language model cannot be read.
        """
        self.database, self.header, self.device = database, header, device
        self.vocabulary = Vocabulary(header.words)
        self.quick = QuickLikelihood(header)
        self.cache = VectorCache(database, header)
        self._landmarks: Landmarks | None = None
        with database.reading() as connection:
            self._require_model(connection)

    def search(
        self,
        question: Question,
        options: SearchOptions | None = None,
        *,
        record: bool = True,
        asked: dict[str, Any] | None = None,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> Answer:
        """The photos that answer the question, best first, and where in them.

        Args:
            question: what to look for.
            options: how much of it.
            record: store question and answer in the index; an index that cannot be written
                answers all the same, with `query_id` None.
            asked: what else the history should know of the question, as JSON takes it.
            on_progress: told (photos done, photos to do) where that takes long.

        Raises:
            UsageError: a phrase cannot be read.
            IndexUnusable: the index cannot be read, or holds no described photo.
        """
        began = time.perf_counter()
        options = options or SearchOptions()
        phrases = [
            None if text in options.examples else read_phrase(text, self.vocabulary)
            for text in question.phrases
        ]
        with self.database.reading() as connection:
            self._require_model(connection)
        vectors = self.cache.current(on_progress=on_progress)
        if not vectors.photos:
            raise IndexUnusable(
                f"the index at {self.database.location} holds no photos; add some with: "
                "dcsearch index PHOTOS"
            )
        columns = [
            self._column(phrase, vectors) if phrase else _likeness(options.examples[text], vectors)
            for text, phrase in zip(question.phrases, phrases, strict=True)
        ]
        with self.database.reading() as connection:
            self._require_model(connection)  # once more, in the transaction that answers
            look = _Look(self, connection, vectors, question, columns, options)
            found = look.everywhere(on_progress) if options.exact else look.at_candidates()
            least = -np.inf if question.min_score is None else question.min_score
            found = [one for one in found if one.alignment.score >= least][: options.top]
            results = look.results(found)
        unknown = {item.word: item for phrase in phrases if phrase for item in phrase.unknown}
        answer = Answer(
            query_id=None,
            asked_at=datetime.now(UTC),
            phrases=tuple(dict.fromkeys(term.text for term in question.sought)),
            unknown_words=tuple(unknown.values()),
            model_name=self.header.name,
            model_sha256=self.header.sha256,
            photos=look.photos,
            regions=look.regions,
            elapsed_ms=0.0,
            results=results,
        )
        answer = answer.timed(1000 * (time.perf_counter() - began))
        if not record:
            return answer
        told = {
            "top": options.top,
            "per_image": options.per_image,
            "exact": options.exact,
            **question.options(),
            **(asked or {}),
        }
        try:
            return record_answer(self.database, answer, options=told)
        except IndexUnusable:
            return answer

    def _require_model(self, connection: Connection) -> None:
        """Make sure that the index is this model's.

        Raises:
            IndexUnusable: it is another's, or nobody's yet.
        """
        location, header = self.database.location, self.header
        model = connection.execute(select(Model.name, Model.sha256).where(Model.current)).first()
        if model is None:
            raise IndexUnusable(
                f"the index at {location} holds no photos; add some with: dcsearch index PHOTOS"
            )
        if model.sha256 != header.sha256:
            raise IndexUnusable(
                f"the index at {location} was made by model {model.name!r} "
                f"({model.sha256[:12]}), not by {header.name!r} ({header.sha256[:12]}); "
                f"{how_to_use(model.sha256)}, or describe the photos anew with: dcsearch index "
                "--force PHOTOS"
            )

    def close(self) -> None:
        """Remove what was only made for as long as this lives."""
        self.cache.close()

    def _column(self, phrase: Phrase, vectors: Vectors) -> _Column:
        landmarks = self._landmarks
        if landmarks is None or landmarks.codes is not vectors.landmarks:
            landmarks = self._landmarks = Landmarks(self.quick, vectors.landmarks)
        spoken = landmarks.spoken(phrase)  # (K, T + 1)
        plane = Plane(vectors.projection(vectors.landmarks), spoken.sum(axis=1))
        return _Column(
            phrase=phrase,
            prior=float(word_priors(spoken).sum()),
            log_likelihoods=lambda codes: self.quick.log_likelihoods(codes, [phrase])[:, 0],
            plane=plane,
            query=lambda: score_query(plane.slope),
        )


def _likeness(example: Example, vectors: Vectors) -> _Column:
    likeness = Likeness(example.code, vectors.projection, vectors.landmarks)
    near = likeness.steepness * nearness_query(likeness.point)
    return _Column(
        phrase=None,
        prior=likeness.prior,
        log_likelihoods=likeness.log_likelihoods,
        plane=likeness,
        query=lambda: near + score_query(np.zeros_like(likeness.point)),
    )


class _Look:
    """One question being answered."""

    def __init__(
        self,
        searcher: Searcher,
        connection: Connection,
        vectors: Vectors,
        question: Question,
        columns: Sequence[_Column],
        options: SearchOptions,
    ) -> None:
        self.searcher, self.connection, self.vectors = searcher, connection, vectors
        self.columns, self.options = columns, options
        # The least score is applied to what is exact, at the end; but it says what is counted.
        self.question = replace(question, min_score=None)
        self.counted = BAR if question.min_score is None else question.min_score
        # What is not counted yet leaves open how many there are.
        self.uncounted = replace(self.question, count=None)
        self.allowed = vectors.allowed(
            options.photo_ids,
            but=[one.photo_id for one in options.examples.values() if one.photo_id is not None],
        )
        self.photos = int(sum(mask.sum() for mask in self.allowed))
        self.regions = vectors.regions(self.allowed)
        self.sought = len(question.sought)
        self.weights = np.array([term.weight for term in question.sought])
        self._stored: dict[int, StoredCodes] = {}
        self._last: dict[int, float] = {}  # score of each candidate when it was aligned last

    def at_candidates(self) -> list[_Found]:
        """The best photos, found by guesses that are replaced by what is exact."""
        near = self._candidates()
        if self.regions <= FEW:
            self._look_at(near, {photo: self._further(near, photo) for photo in near.all()})
        self._settle(near)
        for _ in range(PROPOSALS - 1):  # the planes have learned; what do they propose now?
            near = self._candidates(near)
            self._settle(near)
        alignments = self._alignments(near)
        sure = [
            photo
            for photo, alignment in alignments.items()
            if not self._unsure(near, photo, alignment)
        ]
        # Copies of a photo may differ in the last digits.
        sure.sort(key=lambda p: (-round(alignments[p].score, 4), near.photos[p].photo_id))
        sure = sure[: self.options.top]
        if self.options.per_image > 1:
            self._look_at(near, {photo: self._further(near, photo) for photo in sure})
            alignments |= self._alignments(near)  # what comes to light counts for the first box too
            sure.sort(key=lambda p: (-round(alignments[p].score, 4), near.photos[p].photo_id))
        return [
            _Found(
                photo_id=near.photos[photo].photo_id,
                alignment=alignments[photo],
                scores=near.exact[near.rows(photo)],
            )
            for photo in sure
        ]

    def _settle(self, near: _Near) -> None:
        """Look at regions in rounds, until nothing among the best photos is a guess."""
        self._last = {}
        enough = 2 * self.options.top
        for looked in range(ROUNDS):
            alignments = self._alignments(near)
            unsure = {
                photo: self._unsure(near, photo, alignment)
                for photo, alignment in islice(alignments.items(), max(AT_ONCE, enough))
            }
            if looked and not any(unsure[photo] for photo in islice(unsure, enough)):
                break
            self._look_at(near, unsure)

    def _candidates(self, before: _Near | None = None) -> _Near:
        """The photos with the best guesses for all that is sought together, and those that were
        looked at `before`, with all that is known of them."""
        # Few of them may stand the other conditions; how many there are, the best does not tell.
        generous = 1 if self.question.plain else 2 if self.question.count is None else 4
        top = generous * max(PROPOSED, 40 * self.options.top)
        proposals = []
        for column in self.columns[: self.sought]:
            rows, products = self.vectors.search(column.query(), top=top, allowed=self.allowed)
            proposals.append((self.vectors.photo_numbers(rows), products))
        numbers = np.unique(np.concatenate([photos for photos, _ in proposals]))
        total = np.zeros(len(numbers))
        for (photos, products), weight in zip(proposals, self.weights, strict=True):
            # A photo that was not proposed for this phrase has nothing better than the last one.
            best = np.full(len(numbers), products.min(initial=np.inf))
            np.maximum.at(best, np.searchsorted(numbers, photos), products)
            total += weight * best
        most = generous * max(PHOTOS, 4 * self.options.top)
        chosen = numbers[np.argsort(-total, kind="stable")[:most]]
        if before is not None:
            chosen = np.union1d(chosen, self.vectors.photo_numbers(before.looked_at()))
        considered = [self.vectors.photo(number) for number in chosen.tolist()]
        near = _Near(considered, self.columns, sought=self.sought)
        if before is not None:
            near.take_over(before)
        return near

    def _alignments(self, near: _Near) -> dict[int, Alignment]:
        """The best candidates, best first, aligned as far as is known."""
        if not near.photos:
            return {}
        scores = np.where(np.isnan(near.exact), near.guessed, near.exact)  # (R, M)
        scores[:, self.sought :] = near.exact[:, self.sought :]  # there until seen to be
        best = np.maximum.reduceat(scores[:, : self.sought], near.starts[:-1], axis=0)
        bounds = best @ self.weights / self.weights.sum()  # (P,)
        order = np.argsort(-bounds, kind="stable")
        order = order[bounds[order] > -np.inf]
        enough = 2 * max(AT_ONCE, 2 * self.options.top)
        if not self.question.plain:
            return self._conditional(near, scores, bounds, enough)
        return {
            photo: Alignment(
                score=float(bounds[photo]),
                regions=tuple(enumerate(scores[near.rows(photo)].argmax(axis=0).tolist())),
            )
            for photo in order[:enough].tolist()
        }

    def _conditional(
        self, near: _Near, scores: Floats, bounds: Floats, enough: int
    ) -> dict[int, Alignment]:
        """The best of some candidates under the question's conditions.

        Conditions only lower a score, so the bounds (P,) without them come first; from then on
        candidates are tried in the order of how they scored last.
        """
        if not self._last:
            self._last = {
                photo: bound for photo, bound in enumerate(bounds.tolist()) if bound > -np.inf
            }
        alignments: dict[int, Alignment] = {}
        scored: list[float] = []
        for photo in sorted(self._last, key=lambda photo: -self._last[photo]):
            if len(scored) == enough and self._last[photo] <= scored[0]:
                break
            stored = near.photos[photo]
            open_count = self.question.count is not None and self._likely(near, photo, 0)
            alignment = align(
                self.uncounted if open_count else self.question,
                boxes=stored.boxes,
                scores=scores[near.rows(photo)],
                width=stored.width,
                height=stored.height,
                bar=BAR,
                counted=self.counted,
            )
            if alignment is None:
                del self._last[photo]
                continue
            self._last[photo] = alignment.score
            alignments[photo] = alignment
            heapq.heappush(scored, alignment.score)
            if len(scored) > enough:
                heapq.heappop(scored)
        best_first = sorted(alignments, key=lambda photo: -alignments[photo].score)
        return {photo: alignments[photo] for photo in best_first}

    def _likely(self, near: _Near, photo: int, column: int) -> list[int]:
        """Rows of a photo that may, by a guess, show what is counted or must not be there."""
        rows = near.rows(photo)
        guessed = np.where(np.isnan(near.exact[rows, column]), near.guessed[rows, column], -np.inf)
        likely = np.flatnonzero(guessed >= (self.counted if column < self.sought else BAR))
        best: list[int] = likely[np.argsort(-guessed[likely], kind="stable")].tolist()
        return best[:16]

    def _unsure(self, near: _Near, photo: int, alignment: Alignment) -> list[tuple[int, int]]:
        """(row, column) of a photo's scores that its place hangs on, and that are guessed."""
        exact = near.exact[near.rows(photo)]
        unsure = [
            (row, column) for column, row in alignment.regions if np.isnan(exact[row, column])
        ]
        judged = [0] if self.question.count is not None else []
        for column in (*judged, *range(self.sought, len(self.columns))):
            unsure += [(row, column) for row in self._likely(near, photo, column)]
        return list(dict.fromkeys(unsure))

    def _further(self, near: _Near, photo: int) -> list[tuple[int, int]]:
        """(row, column) of guessed scores that may be among a photo's next best boxes; all of
        them in an index of few regions."""
        columns = len(self.columns) if self.regions <= FEW else self.sought
        most = FEW if self.regions <= FEW else 8 * self.options.per_image
        best = np.argsort(-near.guessed[near.rows(photo), :columns], axis=0)[:most]
        exact = near.exact[near.rows(photo)]
        return [
            (row, column)
            for column in range(columns)
            for row in best[:, column].tolist()
            if np.isnan(exact[row, column])
        ]

    def _look_at(self, near: _Near, wanted: Mapping[int, Sequence[tuple[int, int]]]) -> None:
        """Compute exact scores: (row, column) of each candidate."""
        self._fetch([near.photos[photo] for photo, asked in wanted.items() if asked])
        for number, column in enumerate(self.columns):
            rows, codes = [], []
            for photo, asked in wanted.items():
                stored = self._stored.get(near.photos[photo].photo_id)
                own = [row for row, of_column in asked if of_column == number]
                if stored is None or stored.stamp != near.photos[photo].stamp:
                    # Changed or deleted since the cache was read: it is not what it looked like.
                    near.exact[near.rows(photo)] = -np.inf if asked else np.nan
                elif own:
                    rows.append(near.starts[photo] + np.array(own))
                    codes.append(stored.codes[own])
            if not rows:
                continue
            every = np.concatenate(rows)
            exact = column.log_likelihoods(np.concatenate(codes))
            near.exact[every, number] = exact - column.prior + near.objectness[every]
            column.plane.add(near.points[every], exact)
            near.guess(number, column)

    def _fetch(self, photos: Sequence[StoredPoints]) -> None:
        lacking = [photo.photo_id for photo in photos if photo.photo_id not in self._stored]
        self._stored |= codes_of(self.connection, lacking)

    def everywhere(self, on_progress: Callable[[int, int], None] | None) -> list[_Found]:
        """The best photos after all regions were looked at."""
        from dcsearch.likelihood import LikelihoodScorer
        from dcsearch.model.checkpoint import load_checkpoint

        scorer = LikelihoodScorer(
            load_checkpoint(self.searcher.header.path), device=self.searcher.device
        )
        asked = [column.phrase for column in self.columns]  # None for a region
        phrases = [phrase for phrase in asked if phrase]
        priors = np.array([column.prior for column in self.columns])
        answers: list[tuple[float, int]] = []  # score and -photo id, the worst first
        done = 0
        ids = np.concatenate(
            [
                segment.photo_ids[mask]
                for segment, mask in zip(self.vectors.segments, self.allowed, strict=True)
            ]
        )
        location = self.searcher.database.location
        for chunk in code_chunks(self.connection, location=location, photo_ids=ids):
            added = objectness_score(chunk.objectness)
            if self.question.plain and all(asked):
                scores = np.full((len(chunk.codes), len(phrases)), np.nan)
                owners = np.repeat(np.arange(len(chunk.counts)), chunk.counts)
                best, rows = scorer.best_regions(chunk.codes, phrases, photos=owners, bias=added)
                there = chunk.counts[: len(rows)] > 0
                np.put_along_axis(scores, rows[there], (best - priors)[there], axis=0)
            else:
                spoken = iter(scorer.log_likelihoods(chunk.codes, phrases).T)
                likelihoods = [
                    next(spoken) if column.phrase else column.log_likelihoods(chunk.codes)
                    for column in self.columns
                ]
                scores = np.stack(likelihoods, axis=1) - priors + added[:, None]
            ends = chunk.counts.cumsum()
            for photo_id, count, end, size in zip(
                chunk.photo_ids.tolist(),
                chunk.counts.tolist(),
                ends.tolist(),
                chunk.sizes.tolist(),
                strict=True,
            ):
                own = scores[end - count : end]
                alignment = align(
                    self.question,
                    boxes=chunk.boxes[end - count : end],
                    scores=own,
                    width=size[0],
                    height=size[1],
                    bar=BAR,
                    counted=self.counted,
                )
                if alignment is None:
                    continue
                entry = (round(alignment.score, 4), -photo_id)
                if len(answers) < self.options.top:
                    heapq.heappush(answers, entry)
                else:
                    heapq.heappushpop(answers, entry)
            done += len(chunk.photo_ids)
            if on_progress:
                on_progress(done, len(ids))
        found = (self._closely(-negative) for _, negative in sorted(answers, reverse=True))
        return [one for one in found if one is not None]

    def _closely(self, photo_id: int) -> _Found | None:
        """A photo with the exact scores of all its regions, computed as those of candidates are."""
        (photo,) = photo_regions(self.connection, [photo_id]).values()
        scores = np.stack(
            [column.log_likelihoods(photo.codes) - column.prior for column in self.columns], axis=1
        ).astype(np.float64)
        scores += objectness_score(photo.objectness)[:, None]
        alignment = align(
            self.question,
            boxes=photo.boxes,
            scores=scores,
            width=photo.width,
            height=photo.height,
            bar=BAR,
            counted=self.counted,
        )
        if alignment is None:
            return None
        return _Found(photo_id=photo_id, alignment=alignment, scores=scores)

    def results(self, found: Sequence[_Found]) -> tuple[PhotoResult, ...]:
        """What is found as an answer's photos."""
        details = photo_regions(self.connection, [one.photo_id for one in found])
        there = [one for one in found if one.photo_id in details]  # the others left meanwhile
        return tuple(
            self._result(rank, details[one.photo_id], one)
            for rank, one in enumerate(there, start=1)
        )

    def _result(self, rank: int, photo: PhotoRegions, found: _Found) -> PhotoResult:
        regions = []
        for number, column in enumerate(self.columns[: self.sought]):
            scores = found.scores[:, number]
            rows = [row for of_column, row in found.alignment.regions if of_column == number]
            known = np.where(np.isnan(scores), -np.inf, scores)
            if self.question.min_area is not None:
                areas = (photo.boxes[:, 2:] - photo.boxes[:, :2]).prod(axis=1)
                known[areas < self.question.min_area * photo.width * photo.height] = -np.inf
            for row in things(photo.boxes, known, beside=rows):
                if len(rows) < self.options.per_image:
                    rows.append(row)
            explanations: list[Explanation | None] = [None] * len(rows)
            if self.options.explain and column.phrase:
                explanations[:] = explain(
                    self.searcher.quick,
                    self.vectors.landmarks,
                    photo.codes[rows],
                    photo.objectness[rows],
                    column.phrase,
                )
            for row, explanation in zip(rows, explanations, strict=True):
                x0, y0, x1, y1 = photo.boxes[row].tolist()
                added = float(objectness_score(photo.objectness[row : row + 1])[0])
                regions.append(
                    AlignedRegion(
                        phrase=self.question.sought[number].text,
                        box=(x0, y0, x1, y1),
                        score=float(scores[row]),
                        log_likelihood=float(scores[row]) - added + column.prior,
                        log_prior=column.prior,
                        objectness=float(photo.objectness[row]),
                        caption=photo.captions[row],
                        explanation=explanation,
                    )
                )
        return PhotoResult(
            rank=rank,
            path=photo.path,
            score=found.alignment.score,
            width=photo.width,
            height=photo.height,
            regions=tuple(regions),
        )
