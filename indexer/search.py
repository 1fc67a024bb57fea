"""Searching: a question in, the photos that answer it out, best first, with the places in them.

Every region of the index has a guessed score for every phrase, by the plane through the phrase's
log-likelihood (`dcsearch.plane`): FAISS finds the regions with the best guesses. The regions that
the best photos are aligned to are looked at, which replaces guesses and mends the planes; FAISS is
asked again; and so on until nothing changes any more among the best. What is answered is exact;
what was passed over was not worth a look by a guess with a margin. `exact` looks at all.
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
from dcsearch.prior import log_mean
from dcsearch.question import Question
from dcsearch.quick_embedding import QuickEmbedding, phrase_free_scores
from dcsearch.quick_likelihood import Landmarks, QuickLikelihood
from dcsearch.region_score import MIXTURES, Score, default_score
from dcsearch.vocabulary import Vocabulary
from indexer.answer import AlignedRegion, Answer, PhotoResult
from indexer.codes import PhotoRegions, code_chunks, codes_at, photo_regions
from indexer.database import Database
from indexer.history import record_answer
from indexer.models import how_to_use
from indexer.schema import Model
from indexer.similar import Example
from indexer.vectors import StoredRegions, VectorCache, Vectors, nearness_query, score_query

Ints = NDArray[np.int64]
Floats = NDArray[np.floating[Any]]

PROPOSED = 1500  # regions that FAISS proposes for a phrase, at the least
PHOTOS = 400  # that are considered, at the least
AT_ONCE = 80  # photos whose alignments are looked at in a round, at the least
OTHERS = 48  # regions that the embedding proposes for a phrase
PROPOSALS = 2  # times that FAISS is asked, each time with better planes, at the least
MOST_PROPOSALS = 9  # while what it proposes still changes which photos are best
ROUNDS = 20
FEW = 500  # regions of an index that are all looked at
MARGIN = 2.0  # deviations of the plane that a guess may be too low


@dataclass(frozen=True, kw_only=True)
class SearchOptions:
    """How much of an answer is wanted.

    Attributes:
        top: photos at the most.
        per_image: boxes of each phrase in each photo at the most.
        photo_ids: only these photos; None: all.
        exact: look at every region.
        explain: say what each word adds to a region's score.
        score: what a region's score for a phrase is made of, see `dcsearch.region_score`; None is
            the model's default.
        examples: what the question's phrases stand for that are no words but regions; their photos
            are no answers.
    """

    top: int = 10
    per_image: int = 1
    photo_ids: Ints | None = None
    exact: bool = False
    explain: bool = False
    score: Score | None = None
    examples: Mapping[str, Example] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            UsageError: one is below 1, or there is no such score.
        """
        if self.top < 1 or self.per_image < 1:
            raise UsageError(
                f"--top and --per-image must be at least 1, got {self.top} and {self.per_image}"
            )
        if self.score is not None and self.score not in MIXTURES:
            raise UsageError(f"no score {self.score!r}; choose one of {', '.join(MIXTURES)}")


@dataclass(frozen=True, kw_only=True, eq=False)
class _Column:
    """A phrase of the question: its prior, its likelihoods, and how they are guessed.

    By `SearchOptions.score` something else may be meant wherever there is talk of likelihoods.
    """

    phrase: Phrase | None  # None: a region, whose like is sought
    prior: float  # log p(phrase)
    log_prior: float  # the same, whatever is meant by likelihoods
    spoken: Callable[[Floats, Floats], Floats]  # (N,) log p(phrase | region), of codes and values
    log_likelihoods: Callable[[Floats], Floats]  # (N,) of codes (N, E)
    nearly: Callable[[Floats], Floats]  # the same in less time, to a few hundredths
    plane: Plane | Likeness
    query: Callable[[], Floats]  # (d + 2,), what FAISS is asked, as far as the plane is known
    other_query: Floats | None = None  # (d + 2,), what it is asked beside that at first


class _Near:
    """The regions that are considered, photo by photo, and what is known of their scores.

    Attributes:
        regions: R of P photos.
        owners: (R,) the photo of each.
        known: (R, M) scores, exact or nearly so, NaN where nobody looked yet.
        exact: (R, M) which of them are.
        guessed: (R, M) scores, a margin above what the planes say.
    """

    def __init__(self, regions: StoredRegions, columns: Sequence[_Column], *, sought: int) -> None:
        """Guess the scores of regions; the first columns are `sought`, the others must not be."""
        self.regions, self.sought = regions, sought
        self.starts = regions.starts
        self.owners = np.repeat(np.arange(len(regions.photo_ids)), np.diff(regions.starts))
        self.known = np.full((len(regions.rows), len(columns)), np.nan)
        self.exact = np.zeros(self.known.shape, dtype=bool)
        self.guessed = np.empty(self.known.shape)
        for number, column in enumerate(columns):
            self.guess(number, column)

    def take_over(self, before: "_Near") -> None:
        """Know what was known of the regions that were considered before, too."""
        _, here, there = np.intersect1d(
            self.regions.rows, before.regions.rows, assume_unique=True, return_indices=True
        )
        self.known[here], self.exact[here] = before.known[there], before.exact[there]

    def guess(self, number: int, column: _Column) -> None:
        """Guess the scores of a column anew."""
        # To overlook what must not be there is worse than to look once more.
        margin = MARGIN if number < self.sought else 2 * MARGIN
        level = margin * column.plane.deviation - column.prior
        self.guessed[:, number] = (
            column.plane(self.regions.points) + self.regions.objectness + level
        )

    def of(self, photo: int) -> slice:
        """The regions of a photo."""
        return slice(int(self.starts[photo]), int(self.starts[photo + 1]))


@dataclass(frozen=True, kw_only=True)
class _Found:
    """A photo that answers.

    Attributes:
        scores: (R, M) of its regions for the question's phrases, NaN where nobody looked.
        added: (R,) what is in them whatever is asked: objectness, less the photo's hubness.
    """

    photo_id: int
    alignment: Alignment
    scores: Floats
    added: Floats


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
        self.embedding = QuickEmbedding(header) if header.config.get("embedding_size") else None
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
        score = options.score or default_score(self.header.config.get("embedding_size", 0))
        if MIXTURES[score].similarity and self.embedding is None:
            raise UsageError(
                f"the model {self.header.name} has no phrase embedding; leave out --score {score}"
            )
        with self.database.reading() as connection:
            self._require_model(connection)
        vectors = self.cache.current(on_progress=on_progress)
        if not vectors.photos:
            raise IndexUnusable(
                f"the index at {self.database.location} holds no photos; add some with: "
                "dcsearch index PHOTOS"
            )
        columns = [
            self._column(phrase, vectors, score)
            if phrase
            else _likeness(options.examples[text], vectors)
            for text, phrase in zip(question.phrases, phrases, strict=True)
        ]
        with self.database.reading() as connection:
            self._require_model(connection)  # once more, in the transaction that answers
            look = _Look(self, connection, vectors, question, columns, options, score)
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
            **({"score": options.score} if options.score else {}),
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

    def _column(self, phrase: Phrase, vectors: Vectors, score: Score) -> _Column:
        known = self._landmarks
        if known is None or known.codes is not vectors.landmarks:
            known = self._landmarks = Landmarks(self.quick, vectors.landmarks)
        reading = known.read(phrase)
        mixture = MIXTURES[score]
        nowhere = np.empty(0, dtype=np.float32)
        asked = self.embedding.phrase(phrase) if self.embedding else nowhere

        def near(codes: Floats) -> Floats:
            assert self.embedding
            return self.embedding.regions(codes) @ asked

        def mixed(codes: Floats, spoken: Callable[[], Floats]) -> Floats:
            values = np.zeros(len(codes), dtype=np.float32)
            if mixture.likelihood:
                values += mixture.likelihood * spoken().sum(axis=1)
            if mixture.similarity:
                values += mixture.similarity * near(codes)
            return values

        def spoken(codes: Floats, values: Floats) -> Floats:
            if not mixture.similarity:
                return values
            if not mixture.likelihood:
                return self.quick.log_likelihoods(codes, [phrase])[:, 0]
            return (values - mixture.similarity * near(codes)) / mixture.likelihood

        values = mixed(known.codes, lambda: reading.spoken)
        points = vectors.projection(known.codes)
        plane = Plane(points, values)
        other = None
        if self.embedding:
            cosines = self.embedding.scale * near(known.codes)
            other = score_query(Plane(points, cosines).slope)
        return _Column(
            phrase=phrase,
            prior=log_mean(values),
            log_prior=log_mean(reading.spoken.sum(axis=1)),
            spoken=spoken,
            log_likelihoods=lambda codes: mixed(codes, lambda: self.quick.spoken(codes, phrase)),
            nearly=lambda codes: mixed(
                codes, lambda: self.quick.spoken(codes, phrase, reading.likely)
            ),
            plane=plane,
            query=lambda: score_query(plane.slope),
            other_query=other,
        )


def _pairs(chosen: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """(region, column) that are chosen (R, M)."""
    return [(region, column) for region, column in np.argwhere(chosen).tolist()]


def _likeness(example: Example, vectors: Vectors) -> _Column:
    likeness = Likeness(example.code, vectors.projection, vectors.landmarks)
    near = likeness.steepness * nearness_query(likeness.point)
    return _Column(
        phrase=None,
        prior=likeness.prior,
        log_prior=likeness.prior,
        spoken=lambda codes, values: values,
        log_likelihoods=likeness.log_likelihoods,
        nearly=likeness.log_likelihoods,
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
        score: Score,
    ) -> None:
        self.score = score
        self.searcher, self.connection, self.vectors = searcher, connection, vectors
        self.columns, self.options = columns, options
        self.priors = np.array([column.prior for column in columns])  # (M,)
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
        self.one_phrase = self.question.plain and self.sought == 1
        self._stored: dict[int, Floats] = {}  # codes (E,) by row
        self._last: dict[int, float] = {}  # score of each candidate when it was aligned last

    def at_candidates(self) -> list[_Found]:
        """The best photos, found by guesses that are replaced by what is exact."""
        if self.regions <= FEW:
            allowed = np.flatnonzero(np.concatenate(self.allowed))
            near = self._near(self.vectors.rows_of(allowed))
            self._look_at(near, _pairs(np.isnan(near.known)), exactly=True)
        else:
            others = self._others()
            near = self._near(np.union1d(self._proposed(), self._wholly(np.concatenate(others))))
            for column, rows in enumerate(others):
                places = np.searchsorted(near.regions.rows, np.sort(rows))
                self._look_at(near, [(place, column) for place in places.tolist()])
            best: set[int] = set()
            for asked in range(1, MOST_PROPOSALS):
                self._look_at(near, self._unsure(near, AT_ONCE))
                before, best = best, self._best_known(near)
                if asked >= PROPOSALS and best <= before:
                    break
                near = self._near(self._proposed(), near)
            self._settle(near)
            if self.one_phrase:  # what else is in the best photos?
                shown = list(self._alignments(near, self._enough))[: self._enough]
                numbers = self.vectors.photo_numbers(near.regions.rows[near.starts[shown]])
                whole = self._near(self.vectors.rows_of(np.sort(numbers)))
                whole.take_over(near)
                near = whole
                self._settle(near)
        return self._exactly(near)

    @property
    def _enough(self) -> int:
        """The best photos that are looked at until nothing is a guess; some may turn out worse."""
        return 2 * self.options.top

    def _best_known(self, near: _Near) -> set[int]:
        """Ids of the best photos by what is known alone."""
        if not len(near.owners):
            return set()
        known = np.where(np.isnan(near.known), -np.inf, near.known)[:, : self.sought]
        best = np.maximum.reduceat(known, near.starts[:-1], axis=0) @ self.weights  # (P,)
        return set(near.regions.photo_ids[np.argsort(-best)[: self.options.top]].tolist())

    def _settle(self, near: _Near) -> None:
        """Look at regions in rounds, until nothing among the best photos is a guess."""
        for _ in range(ROUNDS):
            photos = max(AT_ONCE, self._enough)
            best = self._alignments(near, photos)
            opened = [self._open(near, *item) for item in islice(best.items(), photos)]
            if not any(opened[: self._enough]):
                break
            self._look_at(near, [pair for pairs in opened for pair in pairs])

    def _exactly(self, near: _Near) -> list[_Found]:
        """The best photos, all that decides on them computed exactly."""
        for _ in range(ROUNDS):
            best = list(self._alignments(near, self._enough).items())[: self._enough]
            own = np.isin(near.owners, [photo for photo, _ in best])[:, None]
            asked = _pairs(own & ~np.isnan(near.known) & ~near.exact)
            asked += [pair for item in best for pair in self._open(near, *item)]
            if not asked:
                break
            self._look_at(near, asked, exactly=True)
        found = self._sure(near)
        if self.options.per_image > 1:
            self._look_at(near, self._further(near, list(found)), exactly=True)
            found = self._sure(near)  # what comes to light counts for the first box too
        return [
            _Found(
                photo_id=int(near.regions.photo_ids[photo]),
                alignment=alignment,
                scores=near.known[near.of(photo)],
                added=near.regions.objectness[near.of(photo)],
            )
            for photo, alignment in found.items()
        ]

    def _sure(self, near: _Near) -> dict[int, Alignment]:
        """The best photos of which nothing is a guess, best first."""
        found = {
            photo: alignment
            for photo, alignment in self._alignments(near, 2 * self._enough).items()
            if not self._open(near, photo, alignment)
        }
        return dict(islice(found.items(), self.options.top))

    def _near(self, rows: Ints, before: _Near | None = None) -> _Near:
        """The regions of some rows, and those that were looked at `before`."""
        if before is not None:
            looked = before.regions.rows[~np.isnan(before.known).all(axis=1)]
            rows = np.union1d(rows, self._wholly(looked))
        near = _Near(self.vectors.regions_at(rows), self.columns, sought=self.sought)
        if before is not None:
            near.take_over(before)
        self._last = {}
        return near

    def _wholly(self, rows: Ints) -> Ints:
        """These rows, or, where more than one phrase decides, all of their photos."""
        if self.one_phrase:
            return rows
        return self.vectors.rows_of(np.unique(self.vectors.photo_numbers(rows)))

    def _others(self) -> list[Ints]:
        """Rows that are looked at first for each phrase sought, whatever the planes say."""
        return [
            np.empty(0, np.int64)
            if column.other_query is None
            else self.vectors.search(column.other_query, top=OTHERS, allowed=self.allowed)[0]
            for column in self.columns[: self.sought]
        ]

    def _proposed(self) -> Ints:
        """Rows, ascending: of the regions that FAISS finds for the only phrase; or of all regions
        of the photos with the best guesses for all that is sought together."""
        # Few of them may stand the other conditions; how many there are, the best does not tell.
        generous = 1 if self.question.plain else 2 if self.question.count is None else 4
        top = generous * max(PROPOSED, 40 * self.options.top)
        proposals = [
            self.vectors.search(column.query(), top=top, allowed=self.allowed)
            for column in self.columns[: self.sought]
        ]
        if self.one_phrase:
            return np.sort(proposals[0][0])
        photos_of = [self.vectors.photo_numbers(rows) for rows, _ in proposals]
        numbers = np.unique(np.concatenate(photos_of))
        total = np.zeros(len(numbers))
        for photos, (_, products), weight in zip(photos_of, proposals, self.weights, strict=True):
            # A photo that was not proposed for this phrase has nothing better than the last one.
            best = np.full(len(numbers), products.min(initial=np.inf))
            np.maximum.at(best, np.searchsorted(numbers, photos), products)
            total += weight * best
        most = generous * max(PHOTOS, 4 * self.options.top)
        return self.vectors.rows_of(np.sort(numbers[np.argsort(-total, kind="stable")[:most]]))

    def _alignments(self, near: _Near, photos: int) -> dict[int, Alignment]:
        """The best candidates, so many at the least, best first, aligned as far as is known."""
        if not len(near.owners):
            return {}
        scores = np.where(np.isnan(near.known), near.guessed, near.known)  # (R, M)
        scores[:, self.sought :] = near.known[:, self.sought :]  # there until seen to be
        best = np.maximum.reduceat(scores[:, : self.sought], near.starts[:-1], axis=0)
        bounds = best @ self.weights / self.weights.sum()  # (P,)
        if not self.question.plain:
            return self._conditional(near, scores, bounds, photos)
        rounded = bounds.round(4)
        last = np.sort(rounded)[-photos:][0]
        order = np.flatnonzero(rounded >= last)  # copies tie: the first ids are wanted
        order = order[np.lexsort((near.regions.photo_ids[order], -rounded[order]))][:photos]
        return {
            photo: Alignment(
                score=float(bounds[photo]),
                regions=tuple(enumerate(scores[near.of(photo)].argmax(axis=0).tolist())),
            )
            for photo in order[bounds[order] > -np.inf].tolist()
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
        ids = near.regions.photo_ids

        def place(photo: int) -> tuple[float, int]:
            return -round(self._last[photo], 4), int(ids[photo])

        for photo in sorted(self._last, key=place):
            if len(scored) == enough and round(self._last[photo], 4) < round(scored[0], 4):
                break
            width, height = near.regions.sizes[photo].tolist()
            open_count = self.question.count is not None and self._likely(near, photo, 0)
            alignment = align(
                self.uncounted if open_count else self.question,
                boxes=near.regions.boxes[near.of(photo)],
                scores=scores[near.of(photo)],
                width=width,
                height=height,
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
        return {photo: alignments[photo] for photo in sorted(alignments, key=place)}

    def _likely(self, near: _Near, photo: int, column: int) -> list[int]:
        """Regions of a photo, numbered there, that may, by a guess, show what is counted or must
        not be there."""
        own = near.of(photo)
        guessed = np.where(np.isnan(near.known[own, column]), near.guessed[own, column], -np.inf)
        likely = np.flatnonzero(guessed >= (self.counted if column < self.sought else BAR))
        best: list[int] = likely[np.argsort(-guessed[likely], kind="stable")].tolist()
        return best[:16]

    def _open(self, near: _Near, photo: int, alignment: Alignment) -> list[tuple[int, int]]:
        """(region, column) of a photo's scores that its place hangs on, and that are guessed."""
        first = int(near.starts[photo])
        pairs = [(first + row, column) for column, row in alignment.regions]
        guessed = [pair for pair in pairs if np.isnan(near.known[pair])]
        judged = [0] if self.question.count is not None else []
        for column in (*judged, *range(self.sought, len(self.columns))):
            guessed += [(first + row, column) for row in self._likely(near, photo, column)]
        return guessed

    def _unsure(self, near: _Near, photos: int) -> list[tuple[int, int]]:
        """The same of the best photos."""
        best = islice(self._alignments(near, photos).items(), photos)
        return [pair for item in best for pair in self._open(near, *item)]

    def _further(self, near: _Near, photos: Sequence[int]) -> list[tuple[int, int]]:
        """(region, column) of guessed scores that may be among some photos' next best boxes."""
        pairs = []
        for photo in photos:
            best = np.argsort(-near.guessed[near.of(photo), : self.sought], axis=0)
            for row, column in np.ndindex(best[: 8 * self.options.per_image].shape):
                pair = (int(near.starts[photo] + best[row, column]), column)
                if np.isnan(near.known[pair]):
                    pairs.append(pair)
        return pairs

    def _look_at(
        self, near: _Near, pairs: Sequence[tuple[int, int]], *, exactly: bool = False
    ) -> None:
        """Compute scores of (region, column), exact ones or nearly so, and mend the planes."""
        asked: dict[int, set[int]] = {}  # regions of each column
        for region, column in pairs:
            asked.setdefault(column, set()).add(region)
        codes = self._codes(near, sorted(set().union(*asked.values())))
        for number, chosen in asked.items():
            regions = np.array(sorted(chosen & codes.keys()), dtype=np.int64)
            if not len(regions):
                continue
            own = self.columns[number]
            compute = own.log_likelihoods if exactly else own.nearly
            found = compute(np.stack([codes[region] for region in regions.tolist()]))
            near.known[regions, number] = found - own.prior + near.regions.objectness[regions]
            near.exact[regions, number] = exactly
            if not exactly:  # the planes know them
                own.plane.add(near.regions.points[regions], found)
                near.guess(number, own)

    def _codes(self, near: _Near, regions: Sequence[int]) -> dict[int, Floats]:
        """Codes (E,) of some regions, without those whose photo was changed or deleted since the
        cache was read, which then scores nothing: it is not what it looked like."""
        of = near.regions
        lacking = [region for region in regions if int(of.rows[region]) not in self._stored]
        photos = near.owners[np.array(lacking, dtype=np.int64)].tolist()
        wanted = list(zip(of.photo_ids[photos].tolist(), of.places[lacking].tolist(), strict=True))
        stored = codes_at(self.connection, wanted, size=self.searcher.quick.code_size)
        for region, photo, asked in zip(lacking, photos, wanted, strict=True):
            if asked in stored and stored[asked].stamp == of.stamps[photo]:
                self._stored[int(of.rows[region])] = stored[asked].code
            else:
                near.known[near.of(photo)], near.exact[near.of(photo)] = -np.inf, True
        rows = of.rows[list(regions)].tolist()
        return {
            region: self._stored[row]
            for region, row in zip(regions, rows, strict=True)
            if row in self._stored
        }

    def everywhere(self, on_progress: Callable[[int, int], None] | None) -> list[_Found]:
        """The best photos after all regions were looked at."""
        from dcsearch.mixed_score import MixedScorer
        from dcsearch.model.checkpoint import load_checkpoint

        checkpoint = load_checkpoint(self.searcher.header.path)
        scorer = MixedScorer(checkpoint, self.score, device=self.searcher.device)
        asked = [column.phrase for column in self.columns]  # None for a region
        phrases = [phrase for phrase in asked if phrase]
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
            added = self._added(chunk.codes, chunk.objectness, chunk.counts)
            if self.question.plain and all(asked):
                scores = np.full((len(chunk.codes), len(phrases)), np.nan)
                owners = np.repeat(np.arange(len(chunk.counts)), chunk.counts)
                best, rows = scorer.best_values(chunk.codes, phrases, photos=owners, bias=added)
                there = chunk.counts[: len(rows)] > 0
                np.put_along_axis(scores, rows[there], (best - self.priors)[there], axis=0)
            else:
                values = iter(scorer.values(chunk.codes, phrases).T)
                likelihoods = [
                    next(values) if column.phrase else column.log_likelihoods(chunk.codes)
                    for column in self.columns
                ]
                scores = np.stack(likelihoods, axis=1) - self.priors + added[:, None]
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
        likelihoods = [column.log_likelihoods(photo.codes) for column in self.columns]
        added = self._added(photo.codes, photo.objectness, np.array([len(photo.codes)]))
        scores = np.stack(likelihoods, axis=1).astype(np.float64) - self.priors + added[:, None]
        alignment = align(
            self.question,
            boxes=photo.boxes,
            scores=scores,
            width=photo.width,
            height=photo.height,
            counted=self.counted,
        )
        if alignment is None:
            return None
        return _Found(photo_id=photo_id, alignment=alignment, scores=scores, added=added)

    def _added(self, codes: Floats, objectness: Floats, counts: Ints) -> Floats:
        """What the cache has of the regions of photos of `counts` each, computed anew (R,)."""
        return phrase_free_scores(self.searcher.embedding, codes, objectness, counts)

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
        hubness: float | None = None
        embedding = self.searcher.embedding
        if self.options.explain and embedding and embedding.probes is not None:
            counts = np.array([len(photo.codes)])
            hubness = float(embedding.hubness(photo.codes, photo.objectness, counts)[0])
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
                    mixture=MIXTURES[self.score],
                    embedding=embedding,
                    hubness=hubness,
                )
            values = scores[rows] - found.added[rows] + column.prior
            spoken = column.spoken(photo.codes[rows], values).tolist()
            for row, likelihood, explanation in zip(rows, spoken, explanations, strict=True):
                x0, y0, x1, y1 = photo.boxes[row].tolist()
                regions.append(
                    AlignedRegion(
                        phrase=self.question.sought[number].text,
                        box=(x0, y0, x1, y1),
                        score=float(scores[row]),
                        log_likelihood=likelihood,
                        log_prior=column.log_prior,
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
