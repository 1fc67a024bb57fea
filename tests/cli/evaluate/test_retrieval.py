"""`dcsearch evaluate retrieval`: the paper's protocol on a few drawn photos."""

import json
from pathlib import Path

import pytest

from tests.program import draw_photos, run

FEW = ["--images", "4", "--queries", "3", "--phrases", "2", "--regions", "10", "--seeds", "2"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = draw_photos(tmp_path_factory.mktemp("annotated"), 5)
    phrases = ["a dog", "a red cup", "a man", "the cat", "a blue disc"]
    rows = [
        {
            "image": f"{number}.jpg",
            "width": 160,
            "height": 120,
            "regions": [
                {"box": [10, 10, 80, 90], "phrases": phrases[:3]},
                {"box": [60, 20, 150, 110], "phrases": phrases[3:]},
            ],
        }
        for number in range(5)
    ]
    (folder / "val.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_the_figures_are_a_table_with_mean_and_spread(
    data: Path, tiny_checkpoint_path: Path
) -> None:
    outcome = run("evaluate", "retrieval", data, "--model", tiny_checkpoint_path, *FEW)
    assert outcome.code == 0
    assert outcome.stderr.startswith("retrieval, model tiny (")
    assert "photos 4, queries 3, phrases 2, regions 10" in outcome.stderr
    ours = next(line for line in outcome.lines if line.startswith("FCLN"))
    assert ours.count("±") >= 1
    assert any("paper" in line for line in outcome.lines)


def test_the_figures_are_json(data: Path, tiny_checkpoint_path: Path) -> None:
    file = data / "val.jsonl"
    outcome = run("evaluate", "retrieval", file, "--model", tiny_checkpoint_path, "--json", *FEW)
    found = json.loads(outcome.stdout)
    assert (found["schema_version"], found["protocol"]) == (1, "retrieval")
    assert found["settings"]["photos"] == 4
    assert found["settings"]["seeds"] == 2
    assert found["model"]["name"] == "tiny"
    row = found["tables"][0]["rows"][0]
    assert 0 <= row["values"]["R@10"]["mean"] <= 1


def test_too_few_photos_for_the_queries_is_one_sentence(
    data: Path, tiny_checkpoint_path: Path
) -> None:
    outcome = run("evaluate", "retrieval", data, "--model", tiny_checkpoint_path)
    assert outcome == (
        2,
        b"",
        "dcsearch: only 5 photos have 4 phrases or more; ask for at most 5 with --queries\n",
    )


def test_data_that_are_not_there_are_one_sentence(tmp_path: Path) -> None:
    outcome = run("evaluate", "retrieval", tmp_path / "nowhere")
    assert (outcome.code, outcome.stdout) == (2, b"")
    assert outcome.stderr.startswith(f"dcsearch: no such file or folder: {tmp_path}/nowhere; name ")
    assert outcome.stderr.count("\n") == 1
