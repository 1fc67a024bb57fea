"""A few trials of every kind of fault; `benchmarks/reliability.py` does thousands."""

import mmap
import os
from pathlib import Path

import pytest

from dcsearch.errors import DcsearchError
from tests.faults.children import trials
from tests.faults.kinds import KINDS
from tests.faults.trial import Failed, Trial, Verdict, sentence

TRIALS = {
    "kills": 6,
    "photos": 400,
    "small photos": 3,
    "databases": 12,
    "caches": 10,
    "checkpoints": 8,
    "torch7": 8,
    "datasets": 60,
    "surroundings": 5,
    "crowds": 2,
    "clusters": 1,
    "queries": 6,
}


def test_every_kind_is_tried() -> None:
    assert TRIALS.keys() == KINDS.keys()


@pytest.mark.parametrize("name", TRIALS)
def test_faults_are_survived(name: str, tmp_path: Path) -> None:
    harness = KINDS[name].make(tmp_path)
    found = list(trials(harness, range(TRIALS[name])))
    assert [trial.seed for trial in found] == list(range(TRIALS[name]))
    bad = [f"{each.seed}: {each.verdict}: {each.detail}" for each in found if not _good(each)]
    assert not bad, "\n".join(bad)


def _good(trial: Trial) -> bool:
    return trial.verdict.survived and trial.peak < 2**30


class Scripted:
    """A harness whose trials end as its test wants."""

    name, seconds, at_once = "scripted", 0.2, 3

    def attempt(self, seed: int) -> Verdict:
        """One of all ends that there are."""
        match seed:
            case 1:
                raise Failed(Verdict.LOST, "a photo")
            case 2:
                raise ZeroDivisionError("a bug")
            case 3:
                os._exit(3)
            case 4:
                while True:
                    pass
            case 5:
                os.write(2, b"a line of a library")
            case 6:
                # Pages of its own, touched in place: a hole of the heap may be held already, or be
                # kept after it is freed.
                with mmap.mmap(-1, 50 * 2**20) as pages:
                    for start in range(0, len(pages), mmap.PAGESIZE):
                        pages[start] = 1
                return Verdict.RIGHT
        return Verdict.REFUSED


def test_trials_end_in_every_way_and_the_next_go_on() -> None:
    found = list(trials(Scripted(), range(8)))
    assert [(each.seed, str(each.verdict)) for each in found] == [
        (0, "refused"), (1, "lost"), (2, "crashed"), (3, "crashed"), (4, "hung"), (5, "wrong"),
        (6, "right"), (7, "refused"),
    ]  # fmt: skip
    details = [each.detail for each in found]
    assert details[1] == "a photo"
    assert details[2].startswith("ZeroDivisionError: a bug (children.py:")
    assert details[3:6] == [
        "ended by exit 3", "ended by SIGPROF", "it wrote to stderr: a line of a library",
    ]  # fmt: skip
    assert found[4].seconds >= 0.2
    assert found[6].peak > 45 * 2**20
    assert found[7].peak < 45 * 2**20


@pytest.mark.parametrize("said", ["", "two\nlines", "x" * 3000])
def test_what_is_no_sentence_is_no_refusal(said: str) -> None:
    error = DcsearchError("")
    error.args = (said,)  # an error spells out line ends that it is made with
    with pytest.raises(Failed):
        sentence(error)
