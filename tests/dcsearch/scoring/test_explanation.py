"""Explanations: every word's part of a score, as numbers, as a table and as JSON."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from cli.explaining import explanation_table
from cli.terminal import print_table
from dcsearch.checkpoint.header import read_header
from dcsearch.scoring.explanation import END, Explanation, WordEvidence
from dcsearch.scoring.formula import SCORES, region_scores
from dcsearch.scoring.numpy_engine import NumpyEngine
from dcsearch.scoring.phrase import read_phrase
from dcsearch.scoring.scorer import RegionScorer
from dcsearch.vocabulary import Vocabulary
from indexer.document import explanation_document

EXPLANATION = Explanation(
    phrase="a [bold]dog",
    words=(
        WordEvidence(word="a", log_likelihood=-0.25, log_prior=-0.5),
        WordEvidence(word="dog", log_likelihood=-1.0, log_prior=-4.0),
        WordEvidence(word=END, log_likelihood=-0.75, log_prior=-0.5),
    ),
    objectness=0.5,
    objectness_score=-1.5,
)


def test_a_score_is_the_sum_of_its_parts() -> None:
    assert [word.evidence for word in EXPLANATION.words] == [0.25, 3.0, -0.25]
    assert EXPLANATION.score == 1.5


def test_regions_are_explained_as_they_are_scored(tiny_checkpoint_path: Path) -> None:
    header = read_header(tiny_checkpoint_path)
    engine = NumpyEngine(header)
    chance, size = np.random.default_rng(0), engine.language.code_size
    landmarks = chance.exponential(size=(30, size))
    codes, objectness = chance.exponential(size=(3, size)), np.array([0.9, 0.5, 1e-9])
    scorer = RegionScorer(engine, SCORES["likelihood"], landmarks=landmarks)
    phrase = read_phrase("a purple dog", Vocabulary(header.words), suggest=False)
    explained = scorer.explain(codes, objectness, phrase)
    assert [word.word for word in explained[0].words] == ["a", "dog", END]
    assert {own.phrase for own in explained} == {"a purple dog"}
    assert [own.objectness for own in explained] == [0.9, 0.5, 1e-9]
    np.testing.assert_allclose(
        [own.score for own in explained],
        region_scores(
            engine.language.log_likelihoods(codes, [phrase])[:, 0],
            scorer.prior(phrase).log_likelihood,
            scorer.weights.objectness_score(objectness),
        ),
        rtol=1e-5,
    )
    assert scorer.explain(codes[:0], objectness[:0], phrase) == []
    with pytest.raises(ValueError, match="at least one landmark"):
        RegionScorer(engine, SCORES["likelihood"]).explain(codes, objectness, phrase)


PUSHED = dataclasses.replace(EXPLANATION, hubness=2.5, photo_score=-0.75)


def test_what_the_photo_adds_is_a_row_and_two_fields(
    capsys: pytest.CaptureFixture[str], tiny_checkpoint_path: Path
) -> None:
    assert PUSHED.score == 0.75
    print_table(explanation_table([(1, Path("/photos/1.jpg"), PUSHED)]))
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[-3:] == [["objectness", "0.50", "-1.50"], ["photo", "2.50", "-0.75"],
                          ["score", "+0.75"]]  # fmt: skip
    adding = [line[-1] for line in lines[1:-1]]
    assert sum(map(float, adding)) == pytest.approx(0.75)
    fields = explanation_document(PUSHED)
    assert (fields["hubness"], fields["photo_score"], fields["score"]) == (2.5, -0.75, 0.75)
    header = read_header(tiny_checkpoint_path)
    engine = NumpyEngine(header)
    codes = np.ones((2, engine.language.code_size))
    phrase = read_phrase("a dog", Vocabulary(header.words))
    scorer = RegionScorer(engine, SCORES["likelihood"], landmarks=codes)
    for hubness, added in ((None, 0.0), (2.0, -0.6), (-1.0, 0.3)):
        for one in scorer.explain(codes, np.array([0.9, 0.5]), phrase, hubness=hubness):
            assert (one.hubness, one.photo_score) == (hubness, pytest.approx(added))


def test_the_table_adds_up_and_names_each_photo_once(capsys: pytest.CaptureFixture[str]) -> None:
    photo = Path("/photos/1.jpg")
    print_table(explanation_table([(1, photo, EXPLANATION), (2, photo, EXPLANATION)]))
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    block = [
        "/photos/1.jpg  a [bold]dog  a           -0.25     -0.50     +0.25",
        "                            dog         -1.00     -4.00     +3.00",
        "                            (end)       -0.75     -0.50     -0.25",
        "                            objectness   0.50               -1.50",
        "                            score                           +1.50",
    ]
    assert lines[0] == "#  photo          phrase       word         here  anywhere  evidence"
    for number, first in ((1, 1), (2, 6)):
        expected = [f"{number}  {block[0]}", *(f"   {line}" for line in block[1:])]
        assert lines[first : first + 5] == expected


def test_the_fields_are_json_with_four_decimals() -> None:
    fields = explanation_document(EXPLANATION)
    assert json.loads(json.dumps(fields)) == {
        "words": [
            {"word": "a", "log_likelihood": -0.25, "log_prior": -0.5, "evidence": 0.25},
            {"word": "dog", "log_likelihood": -1.0, "log_prior": -4.0, "evidence": 3.0},
            {"word": "<end>", "log_likelihood": -0.75, "log_prior": -0.5, "evidence": -0.25},
        ],
        "objectness_score": -1.5,
        "score": 1.5,
    }
