"""`dcsearch model calibrate`, and the match that answers of a calibrated model have."""

import csv
import json
from pathlib import Path

import pytest

from dcsearch.checkpoint.checkpoint import load_checkpoint, save_checkpoint
from dcsearch.checkpoint.header import read_header
from dcsearch.data.dataset import read_dataset
from dcsearch.evaluation.calibration import calibrate
from dcsearch.scoring.match import MatchCurve
from tests.program import Outcome, draw_photos, run

NAMES = ("a dog", "a cat", "a red cup")
CURVE = MatchCurve("fused", (-5.0, 5.0), (0.0, 1.0))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight drawn photos: four with objects of two categories, four with phrases."""
    folder = tmp_path_factory.mktemp("data")
    lines = []
    for number, path in enumerate(sorted(draw_photos(folder / "photos", 8).iterdir())):
        regions = [
            {
                "box": [5, 5, 60, 60],
                "phrases": [NAMES[number % 2 if number < 4 else number % 3]],
                "kind": "object" if number < 4 else "other",
            }
        ]
        photo = {"image": f"photos/{path.name}", "width": 120, "height": 90, "regions": regions}
        lines.append(json.dumps(photo))
    (folder / "val.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory: pytest.TempPathFactory, tiny_checkpoint_path: Path) -> Path:
    """The tiny network with a curve that is easily computed by hand."""
    path = tmp_path_factory.mktemp("calibrated") / "tiny.safetensors"
    whole = load_checkpoint(tiny_checkpoint_path)
    save_checkpoint(path, whole.model, whole.vocabulary, name="tiny", provenance={}, match=CURVE)
    return path


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory, calibrated: Path) -> dict[str, object]:
    """Where an index of five photos lies, and the model that made it."""
    folder = tmp_path_factory.mktemp("asked")
    index = folder / "index.db"
    run("index", draw_photos(folder / "photos", 5), "--db", index, "--model", calibrated)
    return {"DCSEARCH_DB": str(index), "DCSEARCH_MODEL": str(calibrated)}


def ask(asked: dict[str, object], *arguments: object) -> Outcome:
    return run(*arguments, environment={key: str(value) for key, value in asked.items()})


def test_a_model_is_measured_and_written_with_its_curve(
    data: Path, tiny_checkpoint_path: Path, tmp_path: Path
) -> None:
    output = tmp_path / "new.safetensors"
    command = ("model", "calibrate", data, "--model", tiny_checkpoint_path, "-o", output)
    outcome = run(*command)
    assert outcome.code == 0, outcome.stderr
    assert outcome.stderr.startswith(f"{output}: match from ")
    before, after = read_header(tiny_checkpoint_path), read_header(output)
    assert before.match is None
    assert (after.name, after.words, after.config) == (before.name, before.words, before.config)
    photos = read_dataset(data / "val.jsonl")
    assert after.match == calibrate(load_checkpoint(tiny_checkpoint_path), photos)
    assert after.match is not None
    assert after.match.score == "fused"
    assert load_checkpoint(output).match == after.match
    again = run(*command)
    assert (again.code, "replace it with --force" in again.stderr) == (2, True)
    assert run(*command, "--force").code == 0


def test_photos_without_anything_known_calibrate_nothing(
    data: Path, tiny_checkpoint_path: Path, tmp_path: Path
) -> None:
    text = (data / "val.jsonl").read_text(encoding="utf-8")
    for name in NAMES:
        text = text.replace(name, "zyx")
    (data / "unknown.jsonl").write_text(text, encoding="utf-8")
    outcome = run(
        *("model", "calibrate", data / "unknown.jsonl", "--model", tiny_checkpoint_path),
        *("-o", tmp_path / "new.safetensors"),
    )
    assert outcome.code == 2
    assert "show nothing that has a name or a phrase the model knows" in outcome.stderr
    assert not list(tmp_path.iterdir())


def test_answers_have_the_match_of_their_scores(asked: dict[str, object]) -> None:
    outcome = ask(asked, "query", "a red dog", "--format", "json", "--per-image", 2)
    for result in json.loads(outcome.stdout)["results"]:
        for region in result["regions"]:
            assert region["match"] == pytest.approx(CURVE.of(region["score"]), abs=1e-4)
        assert result["match"] == result["regions"][0]["match"]


def test_of_several_phrases_the_least_match_is_the_photos(asked: dict[str, object]) -> None:
    outcome = ask(asked, "query", "a red dog", "the cat", "--format", "json")
    for result in json.loads(outcome.stdout)["results"]:
        assert result["match"] == min(region["match"] for region in result["regions"])


def test_tables_say_it_in_per_cent(asked: dict[str, object]) -> None:
    header, first, *_ = ask(asked, "query", "a red dog").lines
    assert header.split() == ["#", "photo", "score", "match", "box", "caption"]
    _, _, score, match, unit, *_ = first.split()
    assert (match, unit) == (f"{100 * CURVE.of(float(score)):.0f}", "%")
    rows = list(csv.DictReader(ask(asked, "query", "a red dog", "--format", "csv").lines))
    assert [float(row["match"]) for row in rows] == pytest.approx(
        [CURVE.of(float(row["score"])) for row in rows], abs=1e-4
    )


def test_other_scores_and_other_models_have_none(
    asked: dict[str, object], tiny_checkpoint_path: Path, tmp_path: Path
) -> None:
    outcome = ask(asked, "query", "a red dog", "--score", "likelihood", "--format", "json")
    assert {result["match"] for result in json.loads(outcome.stdout)["results"]} == {None}
    photos = draw_photos(tmp_path / "photos", 1)
    outcome = run("detect", "a dog", photos, "--model", tiny_checkpoint_path, "--format", "json")
    (photo,) = json.loads(outcome.stdout)["results"]
    assert {region["match"] for region in photo["regions"]} == {None}


def test_detections_have_it_too(calibrated: Path, tmp_path: Path) -> None:
    photos = draw_photos(tmp_path / "photos", 1)
    given = ("detect", "a dog", photos, "--model", calibrated)
    (photo,) = json.loads(run(*given, "--format", "json").stdout)["results"]
    assert photo["regions"]
    for region in photo["regions"]:
        assert region["match"] == pytest.approx(CURVE.of(region["score"]), abs=1e-4)
    header, *_ = run(*given).lines
    assert header.split() == ["photo", "score", "match", "box", "caption"]


def test_regions_like_another_have_none(asked: dict[str, object]) -> None:
    index = Path(str(asked["DCSEARCH_DB"]))
    photo = sorted((index.parent / "photos").iterdir())[0]
    outcome = ask(asked, "similar", photo, "--box", "0,0,50,50", "--format", "json")
    assert outcome.code == 0, outcome.stderr
    assert {result["match"] for result in json.loads(outcome.stdout)["results"]} == {None}
