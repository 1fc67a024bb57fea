"""Searcher: answers a question with the best photos and the regions in them."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from dcsearch import alignment
from dcsearch.checkpoint.header import CheckpointHeader
from dcsearch.errors import Cure, IndexUnusable, UsageError
from dcsearch.question import Question
from dcsearch.scoring.formula import SCORES, Weights, default_score
from dcsearch.scoring.landmarks import Landmarks
from dcsearch.scoring.match import MatchCurve
from dcsearch.scoring.numpy_engine import NumpyEngine
from dcsearch.scoring.phrase import Phrase, read_phrase
from dcsearch.scoring.scorer import RegionScorer
from dcsearch.words.substitution import Substitutions
from indexer.answer import Answer
from indexer.candidates.checked_file import CacheDamaged
from indexer.candidates.faiss_cache import VectorCache
from indexer.candidates.vectors import Vectors
from indexer.models.mismatch import OtherModel
from indexer.search import limits
from indexer.search.example import Example
from indexer.search.exhaustive import search_exhaustively
from indexer.search.options import SearchOptions
from indexer.search.phrase_column import Column, PhraseColumn, RegionColumn
from indexer.search.request import Request
from indexer.search.results import Found, photo_results
from indexer.search.rounds import search_candidates
from indexer.search.selection import Selection
from indexer.store.contract import Reading, Store
from indexer.store.history import record_answer

if TYPE_CHECKING:
    from dcsearch.checkpoint.checkpoint import Checkpoint

Progress = Callable[[int, int], None]


class Searcher:
    """Answers questions from an index; safe to use from several threads."""

    def __init__(
        self,
        database: Store,
        header: CheckpointHeader,
        *,
        device: str = "auto",
        checkpoint: "Callable[[], Checkpoint] | None" = None,
    ) -> None:
        """Take an index and the checkpoint that made it.

        Args:
            device: that `exact` searches run on.
            checkpoint: gives the network, which `exact` searches need; None: it is loaded for each.

        Raises:
            IndexUnusable: the index holds no described photo, or another model's.
            CheckpointError: the checkpoint's language model cannot be read.
        """
        self.database, self.header, self.device = database, header, device
        self._checkpoint = checkpoint
        self.engine = NumpyEngine(header)
        self.engine.check()
        self.vocabulary = self.engine.vocabulary
        self.substitutions = Substitutions.beside(header.path, self.vocabulary)
        self.cache = VectorCache(database, header)
        self._landmarks: Landmarks | None = None
        self._told: IndexUnusable | None = None
        with database.reading() as index:
            self._require_model(index)

    def search(
        self,
        question: Question,
        options: SearchOptions | None = None,
        *,
        examples: Sequence[Example] = (),
        record: bool = True,
        asked: dict[str, Any] | None = None,
        on_progress: Progress | None = None,
    ) -> Answer:
        """The photos that answer the question, best first, and where in them.

        Args:
            question: what to look for.
            options: how much of it.
            examples: the regions that phrases of the question with their texts mean; their photos
                are no answers.
            record: store question and answer in the index; an index that cannot be written
                answers all the same, with `query_id` None.
            asked: what else the history should know of the question, as JSON takes it.
            on_progress: called with (photos done, photos to do) where that takes long.

        Raises:
            UsageError: a phrase cannot be read.
            IndexUnusable: the index cannot be read, or holds no described photo.
            CheckpointError: the table of words beside the model's weights is damaged.
        """
        began = time.perf_counter()
        options = options or SearchOptions()
        substitutions = None if options.literal else self.substitutions
        regions_of = {example.text: example for example in examples}
        sought = [
            regions_of.get(text) or read_phrase(text, self.vocabulary, substitutions=substitutions)
            for text in question.phrases
        ]
        while True:
            try:
                answer = self._answered(question, options, sought, on_progress)
                break
            except CacheDamaged as damage:  # of what is made again in its place, none is left
                self.cache.distrust(damage)
        answer = answer.timed(1000 * (time.perf_counter() - began)).noticing(self._not_kept())
        if not record:
            return answer
        told = {**options.recorded(), **question.options(), **(asked or {})}
        return record_answer(self.database, answer, options=told)

    def _not_kept(self) -> IndexUnusable | None:
        """Why the search cache is not kept, where that was not told yet."""
        cause, before = self.cache.not_kept, self._told
        self._told = cause
        return None if cause is None or (before and str(before) == str(cause)) else cause

    def _answered(
        self,
        question: Question,
        options: SearchOptions,
        sought: Sequence[Phrase | Example],
        on_progress: Progress | None,
    ) -> Answer:
        """The answer, of no time yet.

        Raises:
            CacheDamaged: a file of the search cache is not what was written.
        """
        weights = self._weights(options)
        with self.database.reading() as index:
            self._require_model(index)
        regions = self.cache.current(on_progress=on_progress)
        if not regions.photos:
            raise IndexUnusable(
                f"the index at {self.database.location} holds no photos", Cure.ADD_PHOTOS
            )
        scorer = RegionScorer(
            self.engine, weights, landmarks=regions.landmarks, probes=self.engine.probes
        )
        columns = self._columns(sought, scorer, regions)
        with self.database.reading() as index:
            self._require_model(index)  # once more, in the transaction that answers
            examples = [one.photo_id for one in sought if isinstance(one, Example)]
            own = [photo_id for photo_id in examples if photo_id is not None]
            request = Request(
                index=index,
                scorer=scorer,
                regions=regions,
                allowed=regions.allowed(options.photo_ids, but=own),
                question=replace(question, min_score=None),
                counted=alignment.BAR if question.min_score is None else question.min_score,
                columns=columns,
                options=options,
                match=self._match(weights),
            )
            return self._answer(request, question.min_score, sought, regions.damaged, on_progress)

    def check(self) -> None:
        """Make sure that the index can be read, and is this model's.

        Raises:
            IndexUnusable: it cannot, or is not.
        """
        with self.database.reading() as index:
            self._require_model(index)

    def close(self) -> None:
        """Remove temporary files; the searcher must not be used afterwards."""
        self.cache.close()

    def _weights(self, options: SearchOptions) -> Weights:
        """What the terms of a score weigh.

        Raises:
            UsageError: the score needs an embedding that the model does not have.
        """
        score = options.score or default_score(int(self.engine.embeds))
        if SCORES[score].cosine and not self.engine.embeds:
            raise UsageError(
                f"the model {self.header.name} has no phrase embedding",
                Cure.DEFAULT_SCORE,
                score=score,
            )
        return SCORES[score]

    def _match(self, weights: Weights) -> MatchCurve | None:
        """The model's match curve, where it is of this score."""
        curve = self.header.match
        return curve if curve is not None and curve.fits(weights) else None

    def _columns(
        self,
        sought: Sequence[Phrase | Example],
        scorer: RegionScorer[NumpyEngine],
        regions: Vectors,
    ) -> list[Column]:
        known = self._landmarks
        if known is None or known.codes is not regions.landmarks:
            known = self._landmarks = Landmarks(self.engine.language, regions.landmarks)
        columns: list[Column] = []
        for one in sought:
            if isinstance(one, Phrase):
                columns.append(PhraseColumn(one, scorer, known, regions.projection))
            else:
                columns.append(RegionColumn(one, regions.landmarks, regions.projection))
        return columns

    def _answer(
        self,
        request: Request,
        min_score: float | None,
        sought: Sequence[Phrase | Example],
        damaged: frozenset[int],
        on_progress: Progress | None,
    ) -> Answer:
        """The answer, of no time yet.

        Args:
            damaged: ids of photos that the index holds nothing of that can be read.
        """
        selection = Selection(present=request.options.present, unique=request.options.unique)
        found = self._selected(
            request, selection, -np.inf if min_score is None else min_score, on_progress
        )
        phrases = [one for one in sought if isinstance(one, Phrase)]
        unknown = {item.word: item for phrase in phrases for item in phrase.unknown}
        substituted = dict.fromkeys(item for phrase in phrases for item in phrase.substitutions)
        return Answer(
            query_id=None,
            asked_at=datetime.now(UTC),
            phrases=tuple(dict.fromkeys(term.text for term in request.question.sought)),
            unknown_words=tuple(unknown.values()),
            substitutions=tuple(substituted),
            model_name=self.header.name,
            model_sha256=self.header.sha256,
            photos=request.photos,
            regions=request.regions.count(request.allowed),
            elapsed_ms=0.0,
            results=photo_results(request, found),
        ).noticing(*selection.notices(damaged | set(request.index.damaged)))

    def _selected(
        self,
        request: Request,
        selection: Selection,
        least: float,
        on_progress: Progress | None,
    ) -> list[Found]:
        """The best photos that are shown, best first."""
        top, asked = request.options.top, request
        for _ in range(limits.SELECTION_ROUNDS):
            before = len(selection.passed_over) + len(request.index.damaged)
            if request.options.exact:
                answering = search_exhaustively(
                    request,
                    checkpoint=self.checkpoint(),
                    device=self.device,
                    on_progress=on_progress,
                )
            else:
                answering = iter(search_candidates(asked))
            good = (one for one in answering if one.alignment.score >= least)
            found = list(
                islice((one for one in good if selection.takes(one.photo_id, one.photo)), top)
            )
            passed = selection.passed_over | set(request.index.damaged)
            if request.options.exact or len(found) == top or len(passed) == before:
                break
            # Many may be gone at once, with the disk that they are on.
            more = replace(asked.options, top=2 * asked.options.top)
            asked = replace(request, options=more, allowed=request.allowed_but(passed))
        return found

    def checkpoint(self) -> "Checkpoint":
        """The network.

        Raises:
            CheckpointError: the weights are damaged.
        """
        if self._checkpoint is not None:
            return self._checkpoint()
        from dcsearch.checkpoint.checkpoint import load_checkpoint

        return load_checkpoint(self.header.path)

    def _require_model(self, index: Reading) -> None:
        """Make sure that the index is this model's.

        Raises:
            IndexUnusable: it is another's, or nobody's yet.
        """
        location, header = self.database.location, self.header
        model = index.model()
        if model is None:
            raise IndexUnusable(f"the index at {location} holds no photos", Cure.ADD_PHOTOS)
        if model.sha256 != header.sha256:
            raise OtherModel(
                f"the index at {location} was made by model {model.name!r} "
                f"({model.sha256[:12]}), not by {header.name!r} ({header.sha256[:12]})",
                model.sha256,
            )
