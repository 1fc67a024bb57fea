"""Searching: all stored regions are scored for the phrases, photos ranked by their aligned ones.

Scoring is exhaustive and exact; codes are read in chunks, so memory does not grow with the index.
"""

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import numpy as np
import torch
from torchvision.ops import nms

from dcsearch.errors import IndexUnusable, UsageError
from dcsearch.likelihood import LikelihoodScorer, Phrase, read_phrase, region_scores
from dcsearch.model.checkpoint import Checkpoint
from dcsearch.ranking import Ranking
from indexer.answer import AlignedRegion, Answer, PhotoResult
from indexer.codes import PhotoRegions, read_codes, regions_of
from indexer.database import Database
from indexer.history import record_answer
from indexer.inventory import index_status

# Boxes of one phrase in one photo that cover each other more than this are one answer.
DISTINCT_OVERLAP = 0.5


class Searcher:
    """Answers phrases from an index."""

    def __init__(self, database: Database, checkpoint: Checkpoint, *, device: str = "auto") -> None:
        """Take an index and the checkpoint that made it.

        Raises:
            IndexUnusable: the index holds no described photo, or another model's.
            UsageError: the device is not there.
        """
        status = index_status(database)
        if status.done == 0:
            raise IndexUnusable(
                f"the index at {status.location} holds no photos; add some with: "
                "dcsearch index PHOTOS"
            )
        if status.model_sha256 != checkpoint.sha256:
            raise IndexUnusable(
                f"the index at {status.location} was made by model {status.model_name!r} "
                f"({str(status.model_sha256)[:12]}), not by {checkpoint.name!r} "
                f"({checkpoint.sha256[:12]}); name that model with --model, or describe the "
                "photos anew with: dcsearch index --force PHOTOS"
            )
        self.database, self.checkpoint = database, checkpoint
        self.photos = status.done
        self.scorer = LikelihoodScorer(checkpoint, device=device)

    def search(
        self,
        phrases: Sequence[str],
        *,
        top: int = 10,
        per_image: int = 1,
        min_score: float | None = None,
        path_glob: str | None = None,
        record: bool = True,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> Answer:
        """The photos that answer the phrases together, best first, and where in them.

        Args:
            phrases: at least one; several are one query.
            top: photos at the most.
            per_image: boxes of each phrase in each photo at the most.
            min_score: photos that score below are left out.
            path_glob: only photos whose path it matches (see codes.py).
            record: store query and answer in the index; an index that cannot be written answers
                all the same, with `query_id` None.
            on_progress: told (photos scored, photos in the index).

        Raises:
            UsageError: no phrase, a phrase that cannot be read, or top or per_image below 1.
        """
        if not phrases:
            raise UsageError("there is no phrase; say what to look for: dcsearch query 'a dog'")
        if top < 1 or per_image < 1:
            raise UsageError(f"--top and --per-image must be at least 1, got {top} and {per_image}")
        began = time.perf_counter()
        read = [read_phrase(text, self.checkpoint.vocabulary) for text in phrases]
        ranking = Ranking(self.scorer, read, top=top)
        photos = regions = 0
        for chunk in read_codes(self.database, path_glob=path_glob):
            ranking.add(
                chunk.photo_ids.tolist(), chunk.counts.tolist(), chunk.codes, chunk.objectness
            )
            photos += len(chunk.photo_ids)
            regions += len(chunk.codes)
            if on_progress:
                on_progress(photos, self.photos)
        best = [
            photo.photo for photo in ranking.best() if min_score is None or photo.score >= min_score
        ]
        details = regions_of(self.database, best)
        best = [photo for photo in best if photo in details]  # some may have left meanwhile
        unknown = {item.word: item for phrase in read for item in phrase.unknown}
        answer = Answer(
            query_id=None,
            asked_at=datetime.now(UTC),
            phrases=tuple(phrases),
            unknown_words=tuple(unknown.values()),
            model_name=self.checkpoint.name,
            model_sha256=self.checkpoint.sha256,
            photos=photos,
            regions=regions,
            elapsed_ms=0.0,
            results=tuple(
                self._result(rank, details[photo], read, per_image)
                for rank, photo in enumerate(best, start=1)
            ),
        )
        answer = answer.timed(1000 * (time.perf_counter() - began))
        if not record:
            return answer
        options = {
            "top": top, "per_image": per_image, "min_score": min_score, "path": path_glob,
        }  # fmt: skip
        try:
            return record_answer(self.database, answer, options=options)
        except IndexUnusable:
            return answer

    def _result(
        self, rank: int, photo: PhotoRegions, phrases: Sequence[Phrase], per_image: int
    ) -> PhotoResult:
        """A photo of the answer with each phrase's best distinct regions."""
        log_likelihoods = self.scorer.log_likelihoods(photo.codes, phrases)  # (N, M)
        scores = region_scores(log_likelihoods, photo.objectness)
        boxes = torch.from_numpy(photo.boxes)
        aligned = []
        for column, phrase in enumerate(phrases):
            order = torch.from_numpy(np.ascontiguousarray(scores[:, column]))
            for row in nms(boxes, order, DISTINCT_OVERLAP).tolist()[:per_image]:
                x0, y0, x1, y1 = photo.boxes[row].tolist()
                aligned.append(
                    AlignedRegion(
                        phrase=phrase.text,
                        box=(x0, y0, x1, y1),
                        score=float(scores[row, column]),
                        log_likelihood=float(log_likelihoods[row, column]),
                        objectness=float(photo.objectness[row]),
                        caption=photo.captions[row],
                    )
                )
        return PhotoResult(
            rank=rank,
            path=photo.path,
            score=float(scores.max(axis=0).mean()),
            width=photo.width,
            height=photo.height,
            regions=tuple(aligned),
        )
