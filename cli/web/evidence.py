"""Evidence: what a least score means, as it was measured.

The numbers are those of docs/evidence.md, "Precision at cut-offs", for the names of things; a test
compares the two.
"""

from typing import NamedTuple


class CutOff(NamedTuple):
    """What becomes of photos at a least score.

    Attributes:
        score: the least one.
        kept: of the photos that show the thing, the share that scores so much.
        passing: of 1,000 photos that do not show it, how many do all the same.
    """

    score: int
    kept: float
    passing: float


CUT_OFFS = (
    CutOff(-2, 0.909, 341),
    CutOff(-1, 0.858, 260),
    CutOff(0, 0.807, 192),
    CutOff(1, 0.737, 136),
    CutOff(2, 0.650, 92),
    CutOff(3, 0.536, 59),
    CutOff(4, 0.404, 34),
    CutOff(5, 0.279, 17),
    CutOff(6, 0.184, 7.2),
    CutOff(7, 0.096, 2.1),
    CutOff(8, 0.047, 0.5),
)
LEAST, GREATEST = CUT_OFFS[0].score, CUT_OFFS[-1].score  # of the scale that pages draw


def share_of_scale(score: float) -> float:
    """Where a score lies on the scale: 0 at LEAST and below, 1 at GREATEST and above."""
    return min(1.0, max(0.0, (score - LEAST) / (GREATEST - LEAST)))


def meaning(cut_off: CutOff) -> str:
    """What a least score does, as a sentence."""
    left_out, kept = _left_out(cut_off.passing), _kept(cut_off.kept)
    return f"{left_out} photos without it are left out; {kept} with it stay"


def _left_out(passing: float) -> str:
    of = 10 if passing >= 90 else 100 if passing >= 9 else 1000 if passing >= 0.9 else 10_000
    return f"{round((1000 - passing) * of / 1000)} of {of}"


def _kept(share: float) -> str:
    return f"{round(10 * share)} of 10" if share >= 0.095 else f"{round(100 * share)} of 100"
