"""What all of `dcsearch evaluate` shares: where regions come from, what is kept and said."""

import json
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image

from dcsearch.checkpoint.checkpoint import load_checkpoint, save_checkpoint
from dcsearch.data.proposals import Proposer, annotated_boxes
from dcsearch.data.regions import AnnotatedPhoto
from dcsearch.describe import Describer, Description
from dcsearch.evaluation import described, proposals, retrieval
from dcsearch.evaluation.report import Report
from dcsearch.model.config import FCLNConfig
from dcsearch.model.fcln import FCLN
from dcsearch.vocabulary import Vocabulary
from indexer.evaluations import Scratch
from tests.conftest import WORDS, tiny_config, tiny_model
from tests.program import Outcome, draw_photos, run

BOXES = ([10, 10, 80, 90], [60, 20, 150, 110])
PHRASES = (["a dog", "a red cup", "a man"], ["the cat", "a blue disc"])
FEW = ("--images", 4, "--queries", 3, "--phrases", 2, "--regions", 10, "--seeds", 2)

Evaluate = Callable[..., Outcome]


def write_lines(file: Path, rows: list[Any]) -> Path:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def annotation(number: int) -> dict[str, Any]:
    regions = [{"box": box, "phrases": own} for box, own in zip(BOXES, PHRASES, strict=True)]
    return {"image": f"{number}.jpg", "width": 160, "height": 120, "regions": regions}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Five photos to validate on and three to learn from."""
    folder = draw_photos(tmp_path / "annotated", 8)
    write_lines(folder / "val.jsonl", [annotation(number) for number in range(5)])
    write_lines(folder / "train.jsonl", [annotation(number) for number in range(5, 8)])
    return folder


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def evaluate(data: Path, cache: Path, tiny_checkpoint_path: Path) -> Evaluate:
    """Runs `dcsearch evaluate retrieval` on few photos, with further options."""

    def started(*options: object, model: Path = tiny_checkpoint_path) -> Outcome:
        common = ("--model", model, "--cache", cache, "--device", "cpu", *FEW)
        return run("evaluate", "retrieval", data, *common, *options)

    return started


@pytest.fixture(scope="module")
def other_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network of other weights, which moves what it proposes."""
    path = tmp_path_factory.mktemp("other") / "other.safetensors"
    model = tiny_model(seed=1)
    chance = torch.Generator().manual_seed(0)
    torch.nn.init.normal_(model.recognition.offsets.weight, std=0.05, generator=chance)
    save_checkpoint(path, model, Vocabulary(WORDS), name="other", provenance={})
    return path


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the photos that were opened to be described."""
    names: list[str] = []
    open_annotated = described.open_annotated

    def spy(photo: AnnotatedPhoto) -> Image.Image:
        names.append(photo.path.name)
        return open_annotated(photo)

    monkeypatch.setattr(described, "open_annotated", spy)
    return names


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[list[Description]]:
    """What the photos of each evaluation were described as."""
    seen: list[list[Description]] = []
    evaluate_retrieval = retrieval.evaluate_retrieval

    def spy(
        photos: list[AnnotatedPhoto], descriptions: list[Description], *rest: Any, **options: Any
    ) -> Report:
        seen.append(descriptions)
        return evaluate_retrieval(photos, descriptions, *rest, **options)

    monkeypatch.setattr(retrieval, "evaluate_retrieval", spy)
    return seen


def found(outcome: Outcome) -> dict[str, Any]:
    """The report, of an evaluation with --json that went well."""
    assert (outcome.code, outcome.stderr) == (0, "")
    document = json.loads(outcome.stdout)
    assert isinstance(document, dict)
    return document


def rows_of(outcome: Outcome) -> dict[str, dict[str, float]]:
    """The figures of each row that was measured, by its name."""
    return {
        row["name"]: {name: value["mean"] for name, value in row["values"].items()}
        for row in found(outcome)["tables"][0]["rows"]
        if not row["published"]
    }


def sentence(outcome: Outcome, *, code: int = 2) -> str:
    """What one sentence says, where that is all that happened."""
    assert (outcome.code, outcome.stdout) == (code, b"")
    (line,) = outcome.stderr.splitlines()
    assert line.startswith("dcsearch: ")
    return line.removeprefix("dcsearch: ")


def in_order(boxes: np.ndarray) -> np.ndarray:
    ordered: np.ndarray = boxes[np.lexsort(boxes.T)]
    return ordered


# where regions come from


@pytest.mark.parametrize("source", ["model", "proposals", "truth", "whole", "selective-search"])
def test_regions_come_from_every_source_there_is(
    source: str, evaluate: Evaluate, opened: list[str], measured: list[list[Description]]
) -> None:
    if source == "selective-search":
        pytest.importorskip("cv2.ximgproc")
    first = evaluate("--regions-from", source, "--json")
    assert found(first)["settings"]["regions from"] == source
    assert opened == [f"{number}.jpg" for number in range(5)]
    assert evaluate("--regions-from", source, "--json").stdout == first.stdout
    assert len(opened) == 5  # the second time they were not looked at
    (made, kept) = measured
    for one, other in zip(made, kept, strict=True):
        assert_array_equal(one.boxes, other.boxes)
        assert_array_equal(one.codes, other.codes)
        assert_array_equal(one.objectness, other.objectness)
        assert (one.boxes >= 0).all()
        assert (one.boxes <= [160, 120, 160, 120]).all()
        assert 1 <= len(one.boxes) <= 10
        if source == "truth":
            assert_allclose(in_order(one.boxes), in_order(np.array(BOXES)), atol=1e-3)
        if source == "whole":
            assert_allclose(one.boxes, [[0, 0, 160, 120]])


def test_final_boxes_are_others_than_proposed_ones(
    evaluate: Evaluate, other_model: Path, measured: list[list[Description]]
) -> None:
    for source in ("model", "proposals"):
        assert evaluate("--regions-from", source, model=other_model).code == 0
    final, proposed = measured
    for one, other in zip(final, proposed, strict=True):
        assert one.boxes.shape != other.boxes.shape or not np.allclose(one.boxes, other.boxes)


def test_regions_come_from_another_network(
    evaluate: Evaluate, other_model: Path, data: Path, measured: list[list[Description]]
) -> None:
    """The other's boxes, and the model's own words about them."""
    assert evaluate("--regions-from", other_model).code == 0
    other = Describer(load_checkpoint(other_model), device="cpu", regions=10)
    for number, description in enumerate(measured[0]):
        with Image.open(data / f"{number}.jpg") as image:
            (expected,) = other.describe([other.prepare(image)], captions=False)
        assert_allclose(in_order(description.boxes), in_order(expected.boxes), atol=0.01)
        assert not np.allclose(np.sort(description.objectness), np.sort(expected.objectness))


def test_regions_come_from_a_file(
    evaluate: Evaluate, tmp_path: Path, measured: list[list[Description]]
) -> None:
    boxes = {number: [[number, 5, 100, 60], [0, 0, 30.5, 30]] for number in range(4)}
    file = write_lines(
        tmp_path / "boxes.jsonl",
        [{"image": f"{number}.jpg", "boxes": boxes.get(number, [])} for number in range(5)],
    )
    assert evaluate("--regions-from", file).code == 0
    assert len(measured[0][4].boxes) == 0
    for number, own in boxes.items():
        assert_allclose(in_order(measured[0][number].boxes), in_order(np.array(own)), atol=1e-3)


def test_regions_come_from_edge_boxes_with_opencvs_model(
    evaluate: Evaluate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, opened: list[str]
) -> None:
    """Another model file proposes other boxes, so it is not what is kept that counts then."""
    asked: list[tuple[str, int]] = []

    def edge_boxes(model: Path, *, most: int) -> Proposer:
        asked.append((model.name, most))
        return annotated_boxes

    monkeypatch.setattr(proposals, "edge_boxes", edge_boxes)
    for name in ("one.yml.gz", "one.yml.gz", "other.yml.gz"):
        (tmp_path / name).write_text(name)
        os.utime(tmp_path / name, ns=(1, 1))
        options = ("--regions-from", "edge-boxes", "--edge-model", tmp_path / name)
        assert evaluate(*options).code == 0
    assert asked == [("one.yml.gz", 10)] * 2 + [("other.yml.gz", 10)]
    assert len(opened) == 10


def test_annotated_boxes_hold_all_that_grounding_and_detection_look_for(
    evaluate: Evaluate, data: Path, cache: Path, tiny_checkpoint_path: Path, opened: list[str]
) -> None:
    """All protocols share what was seen of the photos."""
    common = ("--model", tiny_checkpoint_path, "--cache", cache, "--device", "cpu", "--json")
    options = (*common, "--regions", 10, "--regions-from", "truth")
    assert found(evaluate("--regions-from", "truth", "--json"))["protocol"] == "retrieval"
    assert len(opened) == 5
    grounding = run("evaluate", "grounding", data, *options)
    (own, *_) = rows_of(grounding).values()
    assert own["bound any-box"] == own["bound merged-box"] == 1
    pytest.importorskip("pycocotools")
    detection = run("evaluate", "detection", data, *options, "--categories", "a dog,the cat")
    assert found(detection)["settings"]["regions from"] == "truth"
    assert len(opened) == 5


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (
            "magic",
            "no regions can come from 'magic'; choose model, proposals, truth, whole, "
            "selective-search, edge-boxes, a .safetensors or a .jsonl file",
        ),
        ("", "no regions can come from ''; choose model, .*"),
        ("Model", "no regions can come from 'Model'; choose model, .*"),
        ("edge-boxes", "edge-boxes needs OpenCV's edge model; name it with --edge-model"),
        ("none.jsonl", "proposals none.jsonl cannot be read: .*No such file.*"),
    ],
)
def test_a_source_that_there_is_not_is_one_sentence(
    source: str, said: str, evaluate: Evaluate, opened: list[str], cache: Path
) -> None:
    assert re.fullmatch(said, sentence(evaluate("--regions-from", source)))
    assert opened == []
    assert not cache.exists()  # nothing was left behind


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ('{"image": "0.jpg"}', "boxes.jsonl line 1: 'boxes'; a line looks like"),
        ("boxes", "boxes.jsonl line 1: .*; a line looks like"),
        ('{"image": "0.jpg", "boxes": [[0, 0, 9, 9]]}', "has no boxes for 1.jpg; add a line for"),
        (
            '{"image": "0.jpg", "boxes": [[0, 0, 900, 9]]}',
            "has boxes that are empty or outside 0.jpg, 160 x 120; give them in the annotation's",
        ),
    ],
)
def test_a_file_whose_boxes_do_not_fit_is_one_sentence(
    lines: str, said: str, evaluate: Evaluate, tmp_path: Path
) -> None:
    (tmp_path / "boxes.jsonl").write_text(lines + "\n")
    assert re.search(said, sentence(evaluate("--regions-from", tmp_path / "boxes.jsonl")))


def test_another_network_that_is_not_there_is_one_sentence(
    evaluate: Evaluate, tmp_path: Path
) -> None:
    outcome = evaluate("--regions-from", tmp_path / "none.safetensors")
    assert f"{tmp_path}/none.safetensors" in sentence(outcome, code=4)


def test_an_edge_model_that_is_none_is_one_sentence(evaluate: Evaluate, tmp_path: Path) -> None:
    pytest.importorskip("cv2.ximgproc")
    outcome = evaluate("--regions-from", "edge-boxes", "--edge-model", tmp_path / "none.yml.gz")
    assert sentence(outcome) == (
        f"no edge model at {tmp_path}/none.yml.gz; give OpenCV's model.yml.gz"
    )


@pytest.mark.parametrize("source", ["selective-search", "edge-boxes"])
def test_without_opencv_one_sentence_says_what_to_install(
    source: str,
    evaluate: Evaluate,
    tmp_path: Path,
    opened: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    outcome = evaluate("--regions-from", source, "--edge-model", tmp_path)
    assert sentence(outcome) == (
        "proposing boxes by a classical method needs an extra; install it with: "
        "pip install 'dcsearch[eval]'"
    )
    assert opened == []


def external(folder: Path, config: FCLNConfig, options: object) -> Path:
    """A network that was trained on proposals of a file."""
    path = folder / f"{config.method}.safetensors"
    model = FCLN(config, words=len(WORDS))
    provenance = {"options": options}
    save_checkpoint(path, model, Vocabulary(WORDS), name="external", provenance=provenance)
    return path


NO_REGIONS = (
    "the model external was trained on the boxes of a file and finds none by itself; "
    "evaluate it on given boxes, with --regions-from FILE, or name another with --model"
)


def test_a_network_trained_on_given_boxes_is_evaluated_on_given_boxes_only(
    evaluate: Evaluate, tmp_path: Path, opened: list[str]
) -> None:
    model = external(tmp_path, tiny_config(), {"proposals": "boxes.jsonl"})
    for source in ("model", "proposals"):
        assert sentence(evaluate("--regions-from", source, model=model)) == NO_REGIONS
    assert opened == []
    assert sentence(evaluate("--regions-from", model)) == NO_REGIONS
    assert evaluate("--regions-from", "truth", model=model).code == 0


@pytest.mark.parametrize("options", [{"proposals": None}, {}, None, "strange"])
def test_a_network_trained_on_its_own_boxes_finds_regions(
    options: object, evaluate: Evaluate, tmp_path: Path
) -> None:
    assert evaluate(model=external(tmp_path, tiny_config(), options)).code == 0


def test_a_full_image_rnn_needs_no_proposals(evaluate: Evaluate, tmp_path: Path) -> None:
    config = tiny_config().replace(method="full_image_rnn")
    assert evaluate(model=external(tmp_path, config, {"proposals": "boxes.jsonl"})).code == 0


def test_a_network_trained_on_given_boxes_neither_indexes_nor_describes_nor_detects(
    tmp_path: Path,
) -> None:
    model = external(tmp_path, tiny_config(), {"proposals": "boxes.jsonl"})
    photos, index = draw_photos(tmp_path / "photos", 2), tmp_path / "photos.db"
    for command in (
        ("index", photos, "--db", index),
        ("describe", photos),
        ("detect", "a dog", photos),
    ):
        outcome = run(*command, "--model", model)
        assert (outcome.code, outcome.stdout) == (2, b"")
        assert outcome.stderr.splitlines()[-1] == f"dcsearch: {NO_REGIONS}"


# what is kept


def test_what_is_kept_serves_only_what_it_was_made_with(
    evaluate: Evaluate, data: Path, other_model: Path, tmp_path: Path, opened: list[str]
) -> None:
    file = tmp_path / "boxes.jsonl"
    boxes = [{"image": f"{n}.jpg", "boxes": [[0, 0, 50, 50]]} for n in range(5)]

    def looks(*options: object, photos: int = 5, **named: Path) -> None:
        """The first time at the photos, the second time at what was kept."""
        opened.clear()
        for _ in range(2):
            assert evaluate(*options, **named).code == 0
            assert len(opened) == photos

    looks()
    looks("--regions-from", "truth")
    looks("--regions-from", "whole")
    looks("--regions", 9)
    looks("--limit", 4, photos=4)
    looks("--split", "train", photos=3)
    looks(model=other_model)
    looks("--regions-from", other_model)
    write_lines(file, boxes)
    looks("--regions-from", file)
    write_lines(file, [{**row, "boxes": [[0, 0, 50, 51.5]]} for row in boxes])
    looks("--regions-from", file)
    os.utime(data / "0.jpg", ns=(1, 1))  # another photo under the same name
    looks()
    narrow = [annotation(number) for number in range(5)]
    narrow[0]["regions"][0]["box"] = [10, 10, 80, 91]
    write_lines(data / "val.jsonl", narrow)
    looks("--regions-from", "truth")
    opened.clear()
    for options in ((), ("--sweep",), ("--phrases", 1), ("--bfloat16",), ("--json",)):
        assert evaluate("--regions-from", "truth", *options).code == 0
    assert opened == []  # how phrases are scored is not what was seen


def test_a_folder_of_the_name_of_a_source_is_no_other_source(
    evaluate: Evaluate, tmp_path: Path, opened: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert evaluate().code == 0
    (tmp_path / "model").mkdir()
    assert evaluate().code == 0
    assert len(opened) == 5


def test_an_interrupted_evaluation_goes_on_where_it_was(
    evaluate: Evaluate, opened: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    straight = evaluate("--regions-from", "truth", "--json")
    defaults = Scratch.describe.__kwdefaults__
    assert defaults is not None
    monkeypatch.setitem(defaults, "batch", 2)  # photos that are kept at a time
    look = described.open_annotated

    def interrupted(photo: AnnotatedPhoto) -> Image.Image:
        if photo.path.name == "3.jpg":
            raise KeyboardInterrupt
        return look(photo)

    with monkeypatch.context() as patch:
        patch.setattr(described, "open_annotated", interrupted)
        outcome = evaluate("--regions-from", "truth", "--regions", 9, "--json")
    assert "interrupted" in sentence(outcome, code=130)
    opened.clear()
    resumed = evaluate("--regions-from", "truth", "--regions", 9, "--json")
    assert opened == ["2.jpg", "3.jpg", "4.jpg"]
    assert rows_of(resumed) == rows_of(straight)


def test_the_cache_may_be_named_by_the_environment(
    data: Path, tiny_checkpoint_path: Path, tmp_path: Path
) -> None:
    outcome = run(
        *("evaluate", "retrieval", data, "--model", tiny_checkpoint_path, *FEW),
        environment={"DCSEARCH_CACHE": str(tmp_path / "named" / "so")},
    )
    assert outcome.code == 0
    assert [file.suffix for file in (tmp_path / "named" / "so").iterdir()] == [".db"]


def test_without_a_name_the_cache_lies_in_the_users_folder(
    data: Path, tiny_checkpoint_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("indexer.evaluations.default_scratch_folder", lambda: tmp_path / "usual")
    outcome = run("evaluate", "retrieval", data, "--model", tiny_checkpoint_path, *FEW)
    assert outcome.code == 0
    assert len(list((tmp_path / "usual").iterdir())) == 1


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_a_cache_that_cannot_be_written_is_one_sentence(
    place: str, data: Path, tiny_checkpoint_path: Path, tmp_path: Path, opened: list[str]
) -> None:
    (tmp_path / "file").touch()
    outcome = run(
        *("evaluate", "retrieval", data, "--model", tiny_checkpoint_path, *FEW),
        *("--cache", tmp_path / place),
    )
    said = sentence(outcome, code=3)
    assert said.startswith(f"the scratch file {tmp_path}/{place}/")
    assert said.endswith("delete it, or name another folder with --cache")
    assert opened == []


def test_a_damaged_cache_is_one_sentence_and_deleting_it_is_the_cure(
    evaluate: Evaluate, cache: Path
) -> None:
    first = evaluate("--json")
    (file,) = cache.iterdir()
    file.write_bytes(b"no database" * 1000)
    said = sentence(evaluate("--json"), code=3)
    assert said.startswith(f"the scratch file {file} cannot be used (")
    assert said.endswith("delete it, or name another folder with --cache")
    file.unlink()
    assert evaluate("--json").stdout == first.stdout


def test_a_photo_that_is_missing_is_one_sentence(evaluate: Evaluate, data: Path) -> None:
    (data / "3.jpg").unlink()
    assert sentence(evaluate()).startswith(f"photo {data}/3.jpg cannot be opened: ")


# which photos


def test_of_a_folder_the_validation_split_is_measured_unless_another_is_named(
    evaluate: Evaluate, opened: list[str]
) -> None:
    for options, names in (
        ((), [0, 1, 2, 3, 4]),
        (("--split", "val", "--regions", 9), [0, 1, 2, 3, 4]),
        (("--split", "train"), [5, 6, 7]),
    ):
        opened.clear()
        assert evaluate(*options).code == 0
        assert opened == [f"{name}.jpg" for name in names]


def test_a_split_that_there_is_not_is_one_sentence(evaluate: Evaluate, data: Path) -> None:
    assert sentence(evaluate("--split", "test")) == (
        f"{data} holds train, val; name one as its file or with --split"
    )


def test_a_single_file_is_measured_whole(
    data: Path, cache: Path, tiny_checkpoint_path: Path, opened: list[str]
) -> None:
    outcome = run(
        *("evaluate", "retrieval", data / "train.jsonl", "--model", tiny_checkpoint_path),
        *("--cache", cache, *FEW),
    )
    assert outcome.code == 0
    assert opened == ["5.jpg", "6.jpg", "7.jpg"]


@pytest.mark.parametrize(("limit", "photos"), [(3, 3), (5, 5), (1000, 5)])
def test_the_first_photos_are_enough_where_a_limit_is_set(
    limit: int, photos: int, evaluate: Evaluate, opened: list[str]
) -> None:
    settings = found(evaluate("--limit", limit, "--images", 1000, "--json"))["settings"]
    assert settings["photos"] == photos
    assert opened == [f"{number}.jpg" for number in range(photos)]


def test_a_limit_that_leaves_too_few_is_one_sentence(evaluate: Evaluate) -> None:
    assert sentence(evaluate("--limit", 2)).startswith("only 2 photos have 2 phrases or more")
    assert "--limit" in sentence(evaluate("--limit", 0))


def test_data_without_a_photo_are_one_sentence(evaluate: Evaluate, data: Path) -> None:
    (data / "val.jsonl").write_text("\n")
    assert sentence(evaluate()).endswith("holds no photo; nothing can be measured on it")


# what is said


def test_markdown_has_the_rows_of_the_table(evaluate: Evaluate, tmp_path: Path) -> None:
    outcome = evaluate("--markdown", tmp_path / "report.md")
    assert outcome.code == 0
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert text.startswith("## Retrieval\n\nModel tiny (`")
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    shown = found(evaluate("--json"))["tables"][0]["rows"]
    assert len(rows) == 2 + len(shown)  # a header and what parts it from the rows
    assert rows[0].startswith("|  | R@1 | R@5 | R@10 |")
    assert rows[2].startswith("| FCLN, fused | ")
    assert any("(paper)" in row for row in rows)
    assert outcome.lines[0].split()[:2] == ["Retrieval", "R@1"]  # the terminal has it as well


@pytest.mark.parametrize("name", ["missing/report.md", "."])
def test_markdown_that_cannot_be_written_is_one_sentence_before_any_work(
    name: str, evaluate: Evaluate, tmp_path: Path, opened: list[str]
) -> None:
    said = sentence(evaluate("--markdown", tmp_path / name))
    assert said.startswith(f"cannot write {tmp_path / name} (")
    assert said.endswith("); name another file with --markdown")
    assert opened == []


def test_markdown_of_an_evaluation_that_fails_is_left_as_it_was(
    evaluate: Evaluate, tmp_path: Path, data: Path
) -> None:
    (tmp_path / "old.md").write_text("old")
    (data / "3.jpg").unlink()
    for name in ("old.md", "new.md"):
        assert sentence(evaluate("--markdown", tmp_path / name)).startswith("photo ")
    assert (tmp_path / "old.md").read_text() == "old"
    assert not (tmp_path / "new.md").exists()


def test_figures_are_curves_and_the_best_and_the_worst_photos(
    evaluate: Evaluate, tmp_path: Path
) -> None:
    pytest.importorskip("matplotlib")
    folder = tmp_path / "new" / "figures"
    outcome = evaluate("--figures", folder)
    names = sorted(file.name for file in folder.iterdir())
    assert names == [
        "retrieval_1_recall_at_k.png",
        "retrieval_2_localization.png",
        *(f"retrieval_best_{number:02d}.jpg" for number in (1, 2, 3)),
    ]
    assert (outcome.code, bool(outcome.stdout)) == (0, True)
    assert f"5 pictures written to {folder}" in outcome.stderr.splitlines()
    for name in names:
        with Image.open(folder / name) as picture:
            assert min(picture.size) > 100


def test_figures_do_not_stand_in_the_way_of_json(evaluate: Evaluate, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    outcome = evaluate("--figures", tmp_path / "figures", "--json")
    assert json.loads(outcome.stdout)["protocol"] == "retrieval"


def test_figures_that_cannot_be_drawn_are_one_sentence_before_any_work(
    evaluate: Evaluate, tmp_path: Path, opened: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib")
    (tmp_path / "file").touch()
    said = sentence(evaluate("--figures", tmp_path / "file"))
    assert said.startswith(f"cannot write to {tmp_path}/file: ")
    assert said.endswith("choose another folder for --figures")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert sentence(evaluate("--figures", tmp_path / "figures")) == (
        "drawing figures needs an extra; install it with: pip install 'dcsearch[eval]'"
    )
    assert opened == []


def test_json_says_what_the_table_says(evaluate: Evaluate) -> None:
    document = found(evaluate("--json"))
    assert document["schema_version"] == 1
    assert document["model"]["name"] == "tiny"
    assert document["settings"] == {
        "photos": 4, "queries": 3, "phrases": 2, "regions": 10, "regions from": "model",
        "seeds": 2, "scoring": "fused",
    }  # fmt: skip
    table = evaluate()
    ours = next(line for line in table.lines if line.startswith("FCLN, fused "))
    first = document["tables"][0]["rows"][0]["values"]["R@1"]
    assert ours.split()[2:5] == [f"{first['mean']:.3f}", "±", f"{first['deviation']:.3f}"]
    assert table.stderr.startswith("retrieval, model tiny (")


# what is asked


def test_the_same_seeds_give_the_same_figures(
    evaluate: Evaluate, cache: Path, opened: list[str]
) -> None:
    first = evaluate("--json", "--sweep")
    for file in cache.iterdir():
        file.unlink()
    assert evaluate("--json", "--sweep").stdout == first.stdout
    assert len(opened) == 10
    more = evaluate("--json", "--seeds", 3)
    assert found(more)["settings"]["seeds"] == 3


def test_a_sweep_has_a_row_for_each_choice(evaluate: Evaluate) -> None:
    rows = rows_of(evaluate("--sweep", "--json", "--score", "likelihood"))
    means = ("", "mean probability, ")
    products = [f"FCLN, {mean}objectness {weight}" for mean in means for weight in (0, 1, 6)]
    assert set(rows) == {
        "FCLN, likelihood",
        "FCLN, mean probability",
        *products,
        "FCLN, fused",
        *(f"FCLN, objectness {weight}, fused" for weight in (2, 4)),
        "FCLN, embedding",
        *(f"FCLN, objectness {weight}, embedding" for weight in (2, 4)),
        "FCLN, likelihood 1, similarity 15",
        *(f"FCLN, objectness {weight}, likelihood 1, similarity 15" for weight in (2, 4)),
        "FCLN, without END",
        "FCLN, per word",
        "FCLN, unknown words spoken",
        "FCLN, mean probability, prior 1",
        "FCLN, mean probability, per word",
        *(f"FCLN, likelihood 1, similarity {weight}" for weight in (5, 10)),
        *(f"FCLN, likelihood 0.5, similarity {weight}" for weight in (10, 20, 30, 40)),
    }
    assert next(iter(rows)) == "FCLN, likelihood"  # what was chosen comes first
    assert len({tuple(own) for own in rows.values()}) == 1  # of the same columns
    assert all(0 <= own["R@1"] <= own["R@10"] <= 1 for own in rows.values())


def test_with_probes_their_weight_is_swept_and_matters(
    evaluate: Evaluate, probing_path: Path
) -> None:
    swept = rows_of(
        evaluate("--sweep", "--json", "--regions-from", "truth", "--seeds", 20, model=probing_path)
    )
    weighed = [f"FCLN, hubness {weight}, fused" for weight in ("0", "0.15", "0.6")]
    assert set(weighed) <= set(swept)
    assert len({tuple(swept[name].values()) for name in ("FCLN, fused", *weighed)}) > 1


def test_in_a_sweep_what_was_chosen_comes_first_and_the_default_is_not_missing(
    evaluate: Evaluate,
) -> None:
    name = "FCLN, mean probability, fused"
    swept = rows_of(evaluate("--sweep", "--mean", "probability", "--json"))
    assert next(iter(swept)) == name
    assert "FCLN, fused" in swept
    chosen = rows_of(evaluate("--mean", "probability", "--json"))
    assert list(chosen) == [name]
    assert chosen[name] == pytest.approx(swept[name], abs=1e-4)
    document = found(evaluate("--sweep", "--json", "--score", "embedding"))
    names = [row["name"] for row in document["tables"][0]["rows"]]
    assert names.count("FCLN, embedding") == 1  # it is among the others anyway


def test_without_an_embedding_similarity_is_not_swept_and_cannot_be_asked_for(
    evaluate: Evaluate, tmp_path: Path, opened: list[str]
) -> None:
    path = tmp_path / "without.safetensors"
    model = FCLN(tiny_config().replace(embedding_size=0), words=len(WORDS))
    save_checkpoint(path, model, Vocabulary(WORDS), name="without", provenance={})
    names = rows_of(evaluate("--sweep", "--json", "--regions-from", "truth", model=path))
    assert len(names) == 13
    assert not any("similarity" in name for name in names)
    opened.clear()
    outcome = evaluate("--score", "fused", "--regions-from", "whole", model=path)
    assert sentence(outcome) == "the model without has no phrase embedding; train one that has"
    assert opened == []


@pytest.mark.parametrize(
    ("options", "name"),
    [
        (("--mean", "probability"), "mean probability, fused"),
        (("--score", "likelihood"), "likelihood"),
        (("--score", "embedding"), "embedding"),
        ((), "fused"),
    ],
)
def test_every_choice_of_scoring_reaches_the_evaluation(
    options: tuple[object, ...], name: str, evaluate: Evaluate
) -> None:
    outcome = evaluate("--json", "--regions-from", "truth", *options)
    assert found(outcome)["settings"]["scoring"] == name


@pytest.mark.parametrize(
    "options",
    [
        ("--score", "cosine"),
        ("--mean", "median"),
        ("--regions", 0),
        ("--seeds", 0),
        ("--device", "tpu"),
    ],
)
def test_a_number_or_a_choice_that_cannot_be_is_one_sentence(
    options: tuple[object, ...], evaluate: Evaluate, opened: list[str]
) -> None:
    sentence(evaluate(*options))
    assert opened == []


def test_bfloat16_changes_figures_hardly(evaluate: Evaluate) -> None:
    exact, fast = (rows_of(evaluate("--json", each)) for each in ("--float32", "--bfloat16"))
    assert abs(exact["FCLN, fused"]["MRR"] - fast["FCLN, fused"]["MRR"]) < 0.2
