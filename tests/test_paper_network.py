"""The paper's network against the reference code's order of work, as the benchmark has it."""

import json
import runpy
from pathlib import Path

import pytest
import torch

from dcsearch.device import has_bfloat16

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
SMALL = ("--photo-side", "96", "--hidden", "32", "--words", "40", "--proposals", "30")


def test_describing_finds_what_the_reference_order_of_work_finds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    output = tmp_path / "figures.json"
    arguments = [*SMALL, "--batch", "2", "--repeats", "1", "--output", str(output)]
    monkeypatch.setattr("sys.argv", ["paper_network.py", *arguments])
    runpy.run_path(str(BENCHMARKS / "paper_network.py"), run_name="__main__")
    content = json.loads(output.read_text(encoding="utf-8"))
    facts = content["facts"]
    assert (facts["photos"], facts["pixels"], facts["proposals"]) == (2, [72, 96], 30)
    assert facts["regions"] > 4
    assert facts["float32"]["alike"] == facts["float32"]["captions"] == 1
    assert facts["float32"]["pixels_most"] < 0.05
    ways = {"naive", "float32"} | ({"bfloat16"} if has_bfloat16(torch.device("cpu")) else set())
    stages = {f"{way}: {s}" for way in ways for s in ("CNN", "proposals", "recognition", "LSTM")}
    assert set(content["seconds"]) == ways | stages
    for way in ways:
        whole = content["seconds"][way][0]
        parts = sum(content["seconds"][stage][0] for stage in stages if stage.startswith(f"{way}:"))
        assert parts == pytest.approx(whole, rel=0.1)
    assert "naive / float32" in capsys.readouterr().out
