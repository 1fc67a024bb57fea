"""Answers and other results as the JSON objects that every front end writes.

A path that is no UTF-8 has U+FFFD in the place of each foreign byte, and the exact path beside it
as a file: `uri`. The `id` of a photo is its number in the index. Boxes are pixels of the upright
original, rounded to hundredths; other numbers have four decimals.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from indexer.photos.paths import unicode_path

if TYPE_CHECKING:
    from dcsearch.scoring.explanation import Explanation
    from indexer.answer import AlignedRegion, Answer, PhotoResult
    from indexer.store.copy import CopyReport
    from indexer.store.records import IndexedPhoto, IndexStatus, PastQuery, StoredRegion

SCHEMA_VERSION = 1  # of all documents
Document = dict[str, Any]


def answer_document(answer: "Answer") -> Document:
    """An answer, its photos under `results`."""
    return {
        "query": {"phrases": list(answer.phrases)},
        "model": {"name": answer.model_name, "sha256": answer.model_sha256},
        "index": {"photos": answer.photos, "regions": answer.regions},
        "elapsed_ms": round(answer.elapsed_ms, 1),
        "unknown_words": [
            {"word": unknown.word, "nearest": list(unknown.nearest)}
            for unknown in answer.unknown_words
        ],
        "substitutions": [each.to_json() for each in answer.substitutions],
        "notices": [str(notice) for notice in answer.notices],
        "results": [result_document(result) for result in answer.results],
    }


def result_document(result: "PhotoResult") -> Document:
    """A photo of an answer with its regions."""
    return {
        "rank": result.rank,
        **_id_field(result.photo_id),
        **path_fields(result.path),
        "score": number(result.score),
        "match": optional_number(result.match),
        "width": result.width,
        "height": result.height,
        "regions": [_aligned_document(region) for region in result.regions],
    }


def explanation_document(explanation: "Explanation") -> Document:
    """What each word adds to the score of a region."""
    document: Document = {
        "words": [
            {
                "word": each.word,
                "log_likelihood": number(each.log_likelihood),
                "log_prior": number(each.log_prior),
                "evidence": number(each.evidence),
            }
            for each in explanation.words
        ]
    }
    if explanation.similarity is not None:
        document["similarity"] = number(explanation.similarity)
        document["similarity_score"] = number(explanation.similarity_score)
    document["objectness_score"] = number(explanation.objectness_score)
    if explanation.hubness is not None:
        document["hubness"] = number(explanation.hubness)
        document["photo_score"] = number(explanation.photo_score)
    document["score"] = number(explanation.score)
    return document


def photo_document(photo: "IndexedPhoto", *, top: int) -> Document:
    """A photo of the index with its best regions, ranked from 1; at most `top` of them."""
    return {
        **_id_field(photo.photo_id),
        **path_fields(photo.path),
        "width": photo.width,
        "height": photo.height,
        "state": str(photo.state),
        "error": photo.error,
        "taken_at": photo.taken_at.isoformat() if photo.taken_at is not None else None,
        "regions": [
            region_document(place, region)
            for place, region in enumerate(photo.regions[:top], start=1)
        ],
    }


def past_query_document(past: "PastQuery") -> Document:
    """A query of the history, in short."""
    best = None
    if past.best_path is not None and past.best_score is not None:
        best = {**path_fields(past.best_path), "score": number(past.best_score)}
    return {
        "query": past.query_id,
        "asked_at": past.asked_at.isoformat(),
        "phrases": list(past.phrases),
        "results": past.results,
        "best": best,
    }


def status_document(status: "IndexStatus") -> Document:
    """What an index holds."""
    model, last = status.model, status.indexed_last
    return {
        "index": {
            "location": status.location,
            "bytes": status.bytes,
            "photos": status.photos,
            "done": status.done,
            "failed": status.failed,
            "missing": status.missing,
            "waiting": status.waiting,
            "regions": status.regions,
            "queries": status.queries,
            "indexed_last": None if last is None else last.isoformat(),
            "folders": [path_fields(folder) for folder in status.folders],
        },
        "model": model
        and {"name": model.name, "sha256": model.sha256, "provenance": model.provenance},
        "failures": [
            {**path_fields(failure.path), "reason": failure.reason} for failure in status.failures
        ],
    }


def copy_document(report: "CopyReport") -> Document:
    """What was copied from one index into another, in rows by table."""
    return {
        "source": report.source,
        "target": report.target,
        "copied": report.copied,
        "holds": report.holds,
        "checksum": report.checksum,
    }


def path_fields(path: Path) -> dict[str, str]:
    """The fields of a path: `path`, and `uri` where `path` cannot hold all of it."""
    text = unicode_path(path)
    exact = utf8(text) == text
    return {"path": text} if exact else {"path": utf8(text), "uri": path.as_uri()}


def box_numbers(box: Sequence[float]) -> list[float]:
    """A box: hundredths of a pixel."""
    return [round(float(edge), 2) for edge in box]


def number(value: float) -> float:
    """A score, log-likelihood or objectness: four decimals."""
    return round(float(value), 4)


def optional_number(value: float | None) -> float | None:
    """As `number`; None where there is none."""
    return None if value is None else number(value)


def utf8(text: str) -> str:
    """The text with U+FFFD for everything that UTF-8 cannot hold."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _id_field(photo_id: int | None) -> Document:
    """The field of a photo's number in the index; none where it has left the index."""
    return {} if photo_id is None else {"id": photo_id}


def _aligned_document(region: "AlignedRegion") -> Document:
    document = {
        "phrase": region.phrase,
        "box": box_numbers(region.box),
        "score": number(region.score),
        "match": optional_number(region.match),
        "log_likelihood": optional_number(region.log_likelihood),
        "log_prior": optional_number(region.log_prior),
        "objectness": number(region.objectness),
        "caption": region.caption,
    }
    if region.explanation:
        document["explanation"] = explanation_document(region.explanation)
    return document


def region_document(rank: int, region: "StoredRegion") -> Document:
    """A region of a photo, as the model describes it."""
    return {
        "rank": rank,
        "box": box_numbers(region.box),
        "objectness": number(region.objectness),
        "caption": region.caption,
    }
