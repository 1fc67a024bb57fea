"""Dense captioning: the paper's section 4.1 and Table 1, regions and captions against annotated.

Average precision that asks where and what at once. Annotated boxes are merged where they lie upon
one another (see merging.py). Regions of a photo, best objectness first, each take the merged box
that they overlap most; only the first to take a box can be right. It is right at an IoU threshold
and a METEOR threshold when its box overlaps at least that much and its caption, against all
references of the merged box, scores more than that (more: else threshold 0 would ask nothing). The
regions of all photos are ranked together by objectness; "mAP" is the mean of the average precision
over all 5 x 6 pairs of thresholds, "detection mAP" over the 5 of IoU, the text ignored. "Language
METEOR" is the mean over all captions of their METEOR against the bag of all references of their
photo, wherever they are; photos without a reference are left out of it.

Ranked "by caption", regions stand by the root of objectness times their caption's score in place of
objectness, everywhere: see `joint_scores`.

Two protocols. "reference" is the authors' program; "fixed" differs from it in this:

- A region that overlaps no annotated box takes none. In the reference it takes the photo's last
  one (Torch's index -1), which no other region can then get right.
- Recall levels end at 1; in the reference at .99, whose sum of a hundred steps of .01 is above 1.
- Regions with the same objectness are counted all or none at a time, so that the order of the
  photos tells nothing; the reference counts them one by one.
- Boxes are continuous and in the frame of the annotation. The reference brings both to the frame
  whose longer side is 720, the annotated ones rounded to whole pixels there, cut to 720 x 720 and
  centred by whole division, as its preprocessing does. Corners are centre -+ (side - 1) / 2, and a
  pixel is added to every side for the IoU; the two make up for each other, so the rounding is all
  that is left of it.

Kept in both, or the figures could not stand beside the paper's: a region takes its box even where
the two hardly overlap. Unlike the original in both: references are the annotated words, where it
has <UNK> for those that its model does not know.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple, cast, get_args

import numpy as np
import torch

from dcsearch.checkpoint.checkpoint import Checkpoint
from dcsearch.choices import CaptionProtocol, CaptionRank
from dcsearch.data.regions import AnnotatedPhoto, Box
from dcsearch.describe import Description
from dcsearch.errors import DataError, UsageError
from dcsearch.evaluation.average_precision import average_precision
from dcsearch.evaluation.merging import merge_boxes, overlaps
from dcsearch.evaluation.progress import Progress, silent
from dcsearch.evaluation.published import RUNTIME, caption_rows
from dcsearch.evaluation.report import Example, HeatMap, MarkedBox, Measure, Report, Row, Table
from dcsearch.model.language import pad_tokens
from dcsearch.vocabulary import words_of

PROTOCOLS = get_args(CaptionProtocol)
RANKS = get_args(CaptionRank)
OVERLAPS = (0.3, 0.4, 0.5, 0.6, 0.7)
METEORS = (0.0, 0.05, 0.1, 0.15, 0.2, 0.25)
REFERENCE_SIDE = 720  # pixels of the longer side of the frame of "reference"
EXAMPLES = 8
EXAMPLE_OVERLAP = 0.5  # IoU from which a caption counts for an example
EXAMPLE_BOXES = 5

Meteor = Callable[[Sequence[tuple[str, Sequence[str]]]], Sequence[float]]


class _Matched(NamedTuple):
    """The N regions of a photo, best score first."""

    order: np.ndarray  # (N,) int64, which of the description's each is
    scores: np.ndarray  # (N,)
    overlap: np.ndarray  # (N,) IoU with the merged box that it takes; 0 for none
    first: np.ndarray  # (N,) bool, nobody took that box before
    meteor: np.ndarray  # (N,) against the references of that box; 0 where not first
    language: np.ndarray  # (N,) METEOR against all references of the photo
    annotated: int  # boxes with references, and what they are merged into
    truths: int

    def right(self, overlap: float, meteor: float | None = None) -> np.ndarray:
        """(N,) bool, which are right at these thresholds; without METEOR by their box alone."""
        right = self.first & (self.overlap >= overlap)
        return right if meteor is None else right & (self.meteor > meteor)

    def worth(self) -> float:
        """How well the photo is described: the mean over its merged boxes of METEOR."""
        return float(self.meteor[self.right(EXAMPLE_OVERLAP)].sum()) / self.truths


def evaluate_captions(
    photos: Sequence[AnnotatedPhoto],
    described: Sequence[Description],
    checkpoint: Checkpoint,
    *,
    meteor: Meteor,
    protocol: CaptionProtocol = "fixed",
    rank: CaptionRank = "objectness",
    long_phrases: bool = False,
    seconds: Mapping[str, float] | None = None,
    source: str = "model",
    on_progress: Progress = silent,
) -> Report:
    """Table 1 of the paper for one model and one source of regions.

    The tables, shares 0 to 1: "Table 1" with the paper's rows; "By IoU", the average precision at
    each IoU threshold. The heat map is the average precision over both thresholds. The best
    examples are the photos with the highest mean METEOR over their merged boxes, of the captions
    whose region covers them by IoU .5; the worst those with the lowest.

    Args:
        photos: annotated. References are the phrases of a region in the words of `words_of`; a
            region without any is passed over.
        described: the regions and captions of each photo, in the frame of its annotation.
        checkpoint: of the network that made them, for the report.
        meteor: scores of candidates with their references, as `dcsearch.evaluation.meteor.Meteor`.
        protocol: "fixed" or "reference"; see the top of this file.
        rank: what regions are ranked by, "objectness" or "caption"; see there too.
        long_phrases: long phrases are references too. Otherwise they are where there is no other.
        seconds: a photo, by stage. The paper's are "proposals", "CNN" and "RNN", ours has
            "opening" too; "total" is the sum unless it is given.
        source: where the regions come from, for the report.
        on_progress: called with ("captions", photos done, photos).

    Raises:
        UsageError: an unknown protocol or rank, or METEOR's program stopped.
        DataError: no photo has a region with a phrase; or boxes of a photo are empty, outside, or
            in another frame than its annotation.
        ValueError: not as many descriptions as photos.
    """
    if protocol not in PROTOCOLS:
        raise UsageError(f"no protocol {protocol!r}; choose {' or '.join(PROTOCOLS)}")
    if rank not in RANKS:
        raise UsageError(f"no rank {rank!r}; choose {' or '.join(RANKS)}")
    pairs = list(zip(photos, described, strict=True))
    for photo, description in pairs:
        _check_frames(photo, description)
    matched = []
    for number, (photo, description) in enumerate(pairs, start=1):
        scores = joint_scores(description, checkpoint) if rank == "caption" else None
        matched.append(
            _match(photo, description, scores, meteor, protocol, long_phrases=long_phrases)
        )
        on_progress("captions", number, len(pairs))
    truths = sum(own.truths for own in matched)
    if not truths:
        raise DataError("no photo has a region with a phrase to measure captions by")
    captions, boxes = _precisions(matched, truths, protocol)
    figures = {
        "mAP": captions.mean(),
        "detection mAP": boxes.mean(),
        "language METEOR": _mean(np.concatenate([own.language for own in matched if own.truths])),
    }
    runtime = {f"{stage} ms": 1000 * time for stage, time in (seconds or {}).items()}
    if runtime:
        runtime.setdefault("total ms", sum(runtime.values()))
    stages = dict.fromkeys((*RUNTIME[:-1], *runtime)) if runtime else ()
    with_truth = [number for number, own in enumerate(matched) if own.truths]
    ranked = sorted(with_truth, key=lambda number: -matched[number].worth())
    chosen = (ranked[:EXAMPLES], ranked[EXAMPLES:][::-1][:EXAMPLES])
    best, worst = ([_example(*pairs[n], matched[n]) for n in group] for group in chosen)
    return Report(
        protocol="captions",
        model_name=checkpoint.name,
        model_sha256=checkpoint.sha256,
        settings={
            "photos": len(pairs),
            "regions": max(len(description.boxes) for description in described),
            "regions from": source,
            "protocol": protocol,
            "ranked by": rank,
            "long phrases": long_phrases,
        },
        tables=(
            Table(
                name="Table 1",
                columns=(*figures, *stages),
                rows=(_row(checkpoint.name, {**figures, **runtime}), *caption_rows()),
            ),
            Table(
                name="By IoU",
                columns=tuple(f"AP@{threshold}" for threshold in OVERLAPS),
                rows=tuple(
                    _row(name, {f"AP@{t}": v for t, v in zip(OVERLAPS, own, strict=True)})
                    for name, own in (("captions", captions.mean(axis=0)), ("boxes alone", boxes))
                ),
            ),
        ),
        heat_maps=(
            HeatMap(
                name="Average precision",
                x_label="IoU, at least",
                y_label="METEOR, above",
                x=OVERLAPS,
                y=METEORS,
                values=tuple(map(tuple, captions.tolist())),
            ),
        ),
        best=tuple(best),
        worst=tuple(worst),
        notes=tuple(_notes(matched, described, boxes, runtime)),
    )


@torch.inference_mode()
def joint_scores(description: Description, checkpoint: Checkpoint) -> np.ndarray:
    """The root of objectness times caption score of each region: (N,) float64 in 0..1.

    A caption's score is the geometric mean of the probabilities of its words and of END after
    them, as the network gives them. The root of the product is how GRiT (Wu et al., 2022) ranks.
    """
    language = checkpoint.model.language
    device = language.output.weight.device
    tokens = [checkpoint.vocabulary.encode(caption) for caption in description.captions]
    codes = torch.from_numpy(description.codes.astype(np.float32)).to(device)
    spoken = language.log_likelihoods(codes, pad_tokens(tokens).to(device))  # (N, T + 1)
    lengths = np.array([len(own) + 1 for own in tokens])
    caption = np.exp(spoken.double().sum(dim=1).cpu().numpy() / lengths)
    return cast(np.ndarray, np.sqrt(description.objectness * caption))


def _precisions(
    matched: Sequence[_Matched], truths: int, protocol: str
) -> tuple[np.ndarray, np.ndarray]:
    """Average precision over METEORS and OVERLAPS (6, 5), and over OVERLAPS alone (5,)."""
    scores = np.concatenate([own.scores for own in matched])
    fixed = protocol == "fixed"

    def precision(overlap: float, meteor: float | None = None) -> float:
        hits = np.concatenate([own.right(overlap, meteor) for own in matched])
        points = 101 if fixed else 100
        return average_precision(scores, hits, truths, points=points, ties_together=fixed)

    captions = np.array([[precision(overlap, m) for overlap in OVERLAPS] for m in METEORS])
    return captions, np.array([precision(overlap) for overlap in OVERLAPS])


def _notes(
    matched: Sequence[_Matched],
    described: Sequence[Description],
    boxes: np.ndarray,
    runtime: Mapping[str, float],
) -> Iterator[str]:
    annotated, truths = sum(own.annotated for own in matched), sum(own.truths for own in matched)
    found = sum(len(own.order) for own in matched)
    yield (
        f"{annotated:,} annotated boxes were merged into {truths:,}; {found:,} regions were found."
    )
    yield (
        "The paper's rows were measured on Visual Genome, 5,000 photos of some 40 regions each, "
        "with VGG-16 networks."
    )
    if "opening ms" in runtime:
        yield "Opening a photo is reading and resizing it; the paper's totals leave that out."
    if not boxes.any():
        yield "No region covers an annotated box; make sure that both are in one frame."
    if not any(map(any, (description.captions for description in described))):
        yield "No region has a caption."


def _match(
    photo: AnnotatedPhoto,
    description: Description,
    scores: np.ndarray | None,
    meteor: Meteor,
    protocol: str,
    *,
    long_phrases: bool,
) -> _Matched:
    """Each region of a photo with the merged box that it takes, and what METEOR says of it.

    `scores` rank the regions, (N,); None is their objectness.
    """
    annotated, references = _annotated(photo, long_phrases=long_phrases)
    found = description.caption_boxes.astype(np.float64)
    if protocol == "reference":
        found, annotated = _reference_frame(photo, found, annotated)
    truth = merge_boxes(annotated, references)

    scores = description.objectness if scores is None else scores
    order = np.argsort(-scores, kind="stable")
    shared = overlaps(found[order], truth.boxes)  # (N, T)
    overlap = shared.max(axis=1, initial=0.0)
    nothing = len(truth.boxes) - 1 if protocol == "reference" else -1
    taken = [int(row.argmax()) if row.any() else nothing for row in shared]
    first = np.zeros(len(order), dtype=bool)
    first[np.unique(taken, return_index=True)[1]] = True

    captions = [" ".join(words_of(description.captions[index])) for index in order]
    bag = tuple(dict.fromkeys(text for own in truth.references for text in own))
    candidates = np.flatnonzero(first & (overlap > 0)).tolist()
    similarity = meteor(
        [(caption, bag) for caption in captions]
        + [(captions[index], truth.references[taken[index]]) for index in candidates]
    )
    own = np.zeros(len(order))
    own[candidates] = similarity[len(captions) :]
    return _Matched(
        order=order,
        scores=scores[order],
        overlap=overlap,
        first=first,
        meteor=own,
        language=np.array(similarity[: len(captions)], dtype=np.float64),
        annotated=len(annotated),
        truths=len(truth.boxes),
    )


def _annotated(
    photo: AnnotatedPhoto, *, long_phrases: bool
) -> tuple[np.ndarray, list[tuple[str, ...]]]:
    """Boxes (R, 4) of the regions that have references, and those."""
    boxes, references = [], []
    for region in photo.regions:
        phrases = region.phrases + region.long_phrases if long_phrases else region.phrases
        texts = [" ".join(words_of(text)) for text in phrases or region.long_phrases]
        if any(texts):
            boxes.append(region.box)
            references.append(tuple(filter(None, texts)))
    return np.array(boxes, dtype=np.float64).reshape(-1, 4), references


def _reference_frame(
    photo: AnnotatedPhoto, found: np.ndarray, annotated: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Both in the frame of the reference, whose pixels count from 1, as continuous edges."""
    scale = REFERENCE_SIDE / max(photo.width, photo.height)
    low = np.clip(np.floor(scale * annotated[:, :2] + 1.5), 1, REFERENCE_SIDE - 1)
    side = np.floor(scale * (annotated[:, 2:] - annotated[:, :2]) + 0.5)
    side = np.minimum(side, REFERENCE_SIDE - low)
    corner = low + side // 2 - (side - 1) / 2
    return scale * found + 1, np.hstack([corner, corner + side])


def _check_frames(photo: AnnotatedPhoto, description: Description) -> None:
    """Refuses boxes that are not in the frame of the annotation.

    Raises:
        DataError: see `evaluate_captions`.
    """
    frame = (photo.width, photo.height)
    if (description.width, description.height) != frame:
        raise DataError(
            f"{photo.path}: its regions are in a frame of {description.width} x "
            f"{description.height} pixels, its annotation in one of {frame[0]} x {frame[1]}; "
            "bring them to the frame of the annotation"
        )
    annotated = np.array([region.box for region in photo.regions]).reshape(-1, 4)
    for what, boxes in (("annotated", annotated), ("found", description.caption_boxes)):
        inside = (boxes[:, :2] >= -1) & (boxes[:, 2:] <= np.array(frame) + 1)  # (N, 2)
        wrong = ~(inside & (boxes[:, :2] < boxes[:, 2:])).all(axis=1)  # nan is wrong too
        if wrong.any():
            raise DataError(
                f"{photo.path}: {wrong.sum()} of its {len(boxes)} {what} boxes are empty or "
                f"outside its frame of {frame[0]} x {frame[1]} pixels, "
                f"{boxes[wrong.argmax()].tolist()} for one; bring them to that frame"
            )


def _row(name: str, values: Mapping[str, float]) -> Row:
    return Row(name=name, values={c: Measure(value=float(v)) for c, v in values.items()})


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else 0.0


def _example(photo: AnnotatedPhoto, description: Description, own: _Matched) -> Example:
    """A few annotated boxes, and the regions that describe them best or are surest."""
    best = np.argsort(-own.meteor * own.right(EXAMPLE_OVERLAP), kind="stable")
    truth = [(r.box, text) for r in photo.regions for text in (*r.phrases, *r.long_phrases)[:1]]
    found = [
        (_box(description.caption_boxes[index]), description.captions[index])
        for index in own.order[best[:EXAMPLE_BOXES]].tolist()
    ]
    return Example(
        title=f"mean METEOR {own.worth():.2f}",
        path=photo.path,
        width=photo.width,
        height=photo.height,
        boxes=tuple(
            MarkedBox(box=box, text=text, truth=annotated)
            for annotated, marked in ((True, truth[:EXAMPLE_BOXES]), (False, found))
            for box, text in marked
        ),
    )


def _box(row: np.ndarray) -> Box:
    x0, y0, x1, y1 = row.tolist()
    return x0, y0, x1, y1
