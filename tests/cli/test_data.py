"""`dcsearch data`: checking and converting."""

import json
from pathlib import Path

from dcsearch.data.dataset import read_dataset
from dcsearch.data.regions import read_regions
from tests.data_fixtures import coco, flickr30k_entities, json_lines, visual_genome
from tests.program import run


def test_sound_data_are_a_table_of_counts(tmp_path: Path) -> None:
    outcome = run("data", "check", coco(tmp_path), "--open")
    assert (outcome.code, outcome.stderr) == (0, "")
    assert [line.split() for line in outcome.lines] == [
        ["form", "coco"],
        ["photos", "2"],
        ["photos", "without", "regions", "1"],
        ["regions", "2"],
        ["phrases", "2"],
        ["long", "phrases", "0"],
        ["captions", "2"],
        ["words", "2"],
        ["different", "words", "2"],
        ["problems", "malformed", "entry", "0"],
        ["bad", "box", "0"],
        ["missing", "photo", "0"],
        ["duplicate", "photo", "0"],
        ["unreadable", "photo", "0"],
        ["other", "proportions", "0"],
        ["left", "out", "crowd", "region", "1"],
    ]


def test_problems_are_named_below_the_table_and_by_the_exit_code(tmp_path: Path) -> None:
    folder = json_lines(tmp_path)
    for name in ("a", "b"):
        (folder / "images" / f"{name}.jpg").unlink()
    outcome = run("data", "check", folder, "--list", "1")
    assert outcome.code == 5
    assert outcome.lines[-1] == f"missing photo: {folder}/images/a.jpg: there is no such file"
    assert outcome.stderr == "not listed: 1; --list N names N of each kind\n"


def test_the_check_is_json(tmp_path: Path) -> None:
    folder = json_lines(tmp_path)
    (folder / "images" / "b.jpg").unlink()
    outcome = run("data", "check", folder / "val.jsonl", "--json")
    found = json.loads(outcome.stdout)
    assert outcome.code == 5
    assert (found["schema_version"], found["form"], found["photos"]) == (1, "jsonl", 2)
    assert found["problems"]["missing photo"] == 1
    assert found["listed"] == [
        {
            "problem": "missing photo",
            "place": f"{folder}/images/b.jpg",
            "reason": "there is no such file",
        }
    ]


def test_what_is_no_dataset_is_one_sentence(tmp_path: Path) -> None:
    for command in (["check", tmp_path], ["convert", tmp_path, tmp_path / "out.jsonl"]):
        outcome = run("data", *command)
        assert (outcome.code, outcome.stdout) == (2, b"")
        assert outcome.stderr.startswith(f"dcsearch: {tmp_path} is no dataset of a known form; ")
        assert outcome.stderr.count("\n") == 1


def test_every_form_is_converted_to_what_it_reads_as(tmp_path: Path) -> None:
    for make in (json_lines, flickr30k_entities, coco):
        folder = make(tmp_path / make.__name__)
        output = folder / "out.json"  # not *.jsonl, which would be a second dataset in there
        outcome = run("data", "convert", folder, output)
        assert (outcome.code, outcome.stdout) == (0, b"")
        assert read_regions(output) == read_dataset(folder)


def test_the_rules_of_visual_genome_are_options(tmp_path: Path) -> None:
    folder, output = visual_genome(tmp_path), tmp_path / "out.jsonl"
    keep = ["--no-strip", "--max-words", "0", "--min-regions", "1", "--max-regions", "2"]
    outcome = run("data", "convert", folder, output, *keep)
    assert outcome.stderr == (f"{output}: 1 photo; photo with too few or too many regions: 1\n")
    assert [region.phrases for region in read_regions(output)[0].regions] == [("a cat",)]
    outcome = run("data", "convert", folder, output, "--force", "--form", "visual-genome",
                  "--split", "train")  # fmt: skip
    assert outcome.stderr == f"{output}: 1 photo; bad box: 1; long phrase: 1\n"
    assert [region.phrases for region in read_regions(output)[0].regions] == [
        ("red cup",),
        ("dog",),
    ]


def test_nothing_left_is_exit_code_1(tmp_path: Path) -> None:
    outcome = run("data", "convert", visual_genome(tmp_path), tmp_path / "out.jsonl")
    assert outcome.code == 1
    assert outcome.stderr.startswith(f"{tmp_path}/out.jsonl: 0 photos; ")


def test_a_file_is_replaced_only_by_force(tmp_path: Path) -> None:
    output = tmp_path / "out.json"
    output.write_text("mine")
    outcome = run("data", "convert", coco(tmp_path), output)
    assert outcome == (
        2,
        b"",
        f"dcsearch: {output} is there already; replace it with --force\n",
    )
    assert output.read_text() == "mine"
    assert run("data", "convert", tmp_path, output, "--force").code == 0
    assert len(read_regions(output)) == 2


def test_malformed_data_are_not_converted(tmp_path: Path) -> None:
    folder, output = json_lines(tmp_path), tmp_path / "out.json"
    with (folder / "val.jsonl").open("a") as stream:
        stream.write("{}\n")
    outcome = run("data", "convert", folder, output)
    assert (outcome.code, outcome.stdout, output.exists()) == (2, b"", False)
    assert outcome.stderr == (
        f"dcsearch: {folder}/val.jsonl line 3: 'width' is missing; mend or remove it\n"
    )
