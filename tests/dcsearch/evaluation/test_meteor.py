"""METEOR: a stand-in for its program that counts common words, and the program itself."""

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dcsearch.errors import MissingExtra, UsageError
from dcsearch.evaluation import meteor as module
from dcsearch.evaluation.meteor import Meteor

# Answers counts of common words and of all words, then their quotients, then those of all together.
PROGRAM = """
import sys
log = open("asked", "a", buffering=1)
for line in sys.stdin:
    log.write(line)
    what, *fields = line.rstrip("\\n").split(" ||| ")
    if what == "SCORE":
        *others, text = [set(field.split()) for field in fields]
        print(len(text & others[0]), len(text | others[0]), flush=True)
    else:
        pairs = [[int(number) for number in field.split()] for field in fields]
        print(*[common / every for common, every in pairs], 0.5, sep="\\n", flush=True)
"""


def runtime(folder: Path, program: str) -> Path:
    """A "Java runtime" that runs this program whatever jar it is given."""
    file = folder / "java"
    file.write_text(f"#!{sys.executable}\n{program}")
    file.chmod(0o755)
    return file


@contextlib.contextmanager
def running(folder: Path, program: str = PROGRAM) -> Iterator[Meteor]:
    with Meteor(java=str(runtime(folder, program)), jar=folder / "meteor-1.5.jar") as meteor:
        yield meteor


def asked(folder: Path) -> list[str]:
    """The lines that the program was asked to score."""
    lines = (folder / "asked").read_text().splitlines()
    return [line for line in lines if line.startswith("SCORE")]


def test_a_candidate_scores_what_its_best_reference_gives(tmp_path: Path) -> None:
    with running(tmp_path) as meteor:
        assert meteor(
            [("a red dog", ["a dog", "two cats"]), ("a cat", ["two dogs"]), ("cat", ["cat"])]
        ) == [2 / 3, 0, 1]


def test_without_a_word_or_a_reference_the_score_is_zero(tmp_path: Path) -> None:
    with running(tmp_path) as meteor:
        assert meteor([("a dog", []), ("", ["a dog"]), (" ", [" "]), ("|||", ["a"])]) == [0] * 4
        assert meteor([]) == []
        assert not (tmp_path / "asked").exists() or asked(tmp_path) == []


def test_separators_and_line_ends_do_not_reach_the_program(tmp_path: Path) -> None:
    with running(tmp_path) as meteor:
        assert meteor([("a|||\ndog", ["a \t dog\r\n", "||| a  dog"])]) == [1]
    assert asked(tmp_path) == ["SCORE ||| a dog ||| a dog"]


def test_a_pair_is_asked_for_once(tmp_path: Path) -> None:
    with running(tmp_path) as meteor:
        assert meteor([("a", ["a", "a"]), ("a", ["a"])]) == [1, 1]
        assert meteor([("a", ["a b", "a"]), ("a", ["a b"])]) == [1, 1 / 2]
    assert asked(tmp_path) == ["SCORE ||| a ||| a", "SCORE ||| a b ||| a"]


def test_what_no_longer_fits_into_memory_is_asked_for_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_REMEMBERED", 2)
    with running(tmp_path) as meteor:
        for word in "abca":
            assert meteor([(word, ["a"])]) == [word == "a"]
    assert asked(tmp_path) == [f"SCORE ||| a ||| {word}" for word in "abca"]


def test_more_than_a_block_and_long_lines_come_back_in_order(tmp_path: Path) -> None:
    words = " ".join(f"word{number}" for number in range(2000))
    candidates = [" ".join(words.split()[: number + 1]) for number in range(450)]
    with running(tmp_path) as meteor:
        assert meteor([(text, [words]) for text in candidates]) == [
            (number + 1) / 2000 for number in range(450)
        ]


def test_a_program_that_dies_is_one_sentence_with_its_last_words(tmp_path: Path) -> None:
    dies = "import sys; sys.stdin.readline(); sys.exit('Could not reserve\\nenough space')"
    with (
        running(tmp_path, dies) as meteor,
        pytest.raises(UsageError, match=r"stopped \(Could not reserve enough space\); it needs"),
    ):
        meteor([("a", [str(number)]) for number in range(1000)])


def test_a_program_that_answers_nonsense_is_one_sentence(tmp_path: Path) -> None:
    nonsense = "import sys\nfor line in sys.stdin: print('what?\\nwhat?', flush=True)"
    with (
        running(tmp_path, nonsense) as meteor,
        pytest.raises(UsageError, match=r"METEOR's Java program stopped \(without a word\)"),
    ):
        meteor([("a", ["a"])])


def test_the_program_ends_with_the_block_even_while_it_starts(tmp_path: Path) -> None:
    with running(tmp_path, "import time; time.sleep(60)") as meteor:
        process = meteor._process
        meteor.close()
    assert process.returncode is not None


def test_without_java_one_sentence_says_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"apt install default-jre-headless\)$"):
        Meteor(java=str(tmp_path / "none"), jar=tmp_path / "meteor-1.5.jar")


def test_without_pycocoevalcap_one_sentence_names_the_extra(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "pycocoevalcap", None)
    with pytest.raises(MissingExtra, match=r"pip install 'dcsearch\[eval\]'$"):
        Meteor()


def test_the_scores_are_those_of_the_program_called_by_hand() -> None:
    try:
        meteor = Meteor()
    except UsageError as error:
        pytest.skip(str(error))
    # Candidates, two references each, and what was printed by
    # java -Xmx2G -jar meteor-1.5.jar candidates.txt references.txt -l en -norm -r 2
    printed = [
        ("the cat sat on the mat", "a cat sat on a mat", "there is a cat", 0.3980580516852713),
        ("a man riding a wave", "a surfer rides the wave", "a man on a board", 0.24018024360804488),
        ("a dog", "a dog", "two puppies", 1.0),
        ("a large automobile", "a big car", "the street", 0.8285714285714286),  # synonyms
        ("people are walking", "a person walks", "nobody", 0.08780487804878048),  # stems
        ("in front of the house", "before the house", "near a home", 0.7654639175257731),
        ("tree", "dog", "cat", 0.0),
    ]
    with meteor:
        assert meteor([(text, others) for text, *others, _ in printed]) == [
            score for *_, score in printed
        ]
