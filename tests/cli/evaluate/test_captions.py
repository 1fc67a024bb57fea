"""`dcsearch evaluate captions`, with a stand-in for Java that finds two captions alike or not."""

import json
import os
import sys
from pathlib import Path

import pytest

from tests.program import draw_photos, run

pytest.importorskip("pycocoevalcap")

JAVA = f"""#!{sys.executable}
import sys
for line in sys.stdin:
    what, *fields = line.rstrip("\\n").split(" ||| ")
    if what == "SCORE":
        print(int(fields[0] == fields[1]), flush=True)
    else:
        print(*fields, 0, sep="\\n", flush=True)
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = draw_photos(tmp_path_factory.mktemp("annotated"), 3)
    regions = [
        {"box": [10, 10, 80, 90], "phrases": ["a dog", "a red dog"]},
        {"box": [60, 20, 150, 110], "phrases": ["the cat"]},
    ]
    rows = [
        {"image": f"{number}.jpg", "width": 160, "height": 120, "regions": regions}
        for number in range(3)
    ]
    (folder / "val.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture(autouse=True)
def java(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The first Java that is found."""
    file = tmp_path / "bin" / "java"
    file.parent.mkdir()
    file.write_text(JAVA)
    file.chmod(0o755)
    monkeypatch.setenv("PATH", f"{file.parent}{os.pathsep}{os.environ['PATH']}")
    return file


def test_the_figures_stand_beside_the_papers(
    data: Path, tiny_checkpoint_path: Path, tmp_path: Path
) -> None:
    outcome = run(
        *("evaluate", "captions", data, "--model", tiny_checkpoint_path, "--regions", 10),
        *("--cache", tmp_path),
    )
    assert outcome.code == 0
    assert "photos 3, regions 10, regions from model, protocol fixed" in outcome.stderr
    assert "6 annotated boxes were merged into 6; 30 regions were found." in outcome.stderr
    assert outcome.lines[0].split()[:4] == ["Table", "1", "mAP", "detection"]
    assert outcome.lines[1].startswith("tiny")
    assert any(line.startswith("FCLN, RPN (paper)") for line in outcome.lines)


def test_annotated_boxes_are_all_found_by_either_protocol(
    data: Path, tiny_checkpoint_path: Path, tmp_path: Path
) -> None:
    for protocol in ("fixed", "reference"):
        outcome = run(
            *("evaluate", "captions", data, "--model", tiny_checkpoint_path, "--json"),
            *("--regions-from", "truth", "--protocol", protocol, "--cache", tmp_path),
        )
        found = json.loads(outcome.stdout)
        assert (found["protocol"], found["settings"]["protocol"]) == ("captions", protocol)
        ours = found["tables"][0]["rows"][0]["values"]
        assert ours["detection mAP"]["mean"] == 1
        assert len(found["heat_maps"][0]["values"]) == 6


@pytest.mark.parametrize("source", ["model", "truth"])
def test_the_time_of_each_stage_is_that_of_when_the_photos_were_described(
    source: str, data: Path, tiny_checkpoint_path: Path, tmp_path: Path
) -> None:
    def times() -> dict[str, float]:
        outcome = run(
            *("evaluate", "captions", data, "--model", tiny_checkpoint_path, "--json"),
            *("--regions-from", source, "--cache", tmp_path),
        )
        table = json.loads(outcome.stdout)["tables"][0]
        stages = ["proposals ms", "CNN ms", "RNN ms", "opening ms", "total ms"]
        return {stage: table["rows"][0]["values"][stage]["mean"] for stage in stages}

    first = times()
    *stages, total = first.values()
    assert min(stages) > 0
    assert total == pytest.approx(sum(stages))
    assert times() == first  # read back


def test_regions_may_be_ranked_by_their_captions(
    data: Path, tiny_checkpoint_path: Path, tmp_path: Path
) -> None:
    outcome = run(
        *("evaluate", "captions", data, "--model", tiny_checkpoint_path, "--regions", 10),
        *("--cache", tmp_path, "--rank", "caption"),
    )
    assert outcome.code == 0
    assert "protocol fixed, ranked by caption" in outcome.stderr


def test_without_java_one_sentence_comes_before_any_work(
    java: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    java.unlink()
    monkeypatch.setenv("PATH", str(java.parent))
    outcome = run("evaluate", "captions", data)
    assert outcome == (
        2,
        b"",
        "dcsearch: METEOR needs a Java runtime; install one "
        "(Debian, Ubuntu: apt install default-jre-headless)\n",
    )
