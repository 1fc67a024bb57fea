"""Team: processes that train together do what one does alone."""

import contextlib
import dataclasses
import json
import os
import pickle
import signal
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from dcsearch.training.distributed import Team
from dcsearch.training.loop import train
from dcsearch.training.options import TrainingOptions
from tests.conftest import tiny_config
from tests.dcsearch.model.test_timm_pyramid import tiny_timm_config
from tests.training_fixtures import (
    even,
    metrics,
    state_of,
    stop_at,
    write_backbone,
    write_even_photos,
    write_photos,
)

ROOT = Path(__file__).parents[3]

# Trains one run after another, and says which reports this process gave.
PROCESS = textwrap.dedent(
    """
    import os
    import pickle
    import sys
    from dcsearch.training.loop import train

    with open(sys.argv[1], "rb") as file:
        runs = pickle.load(file)
    for port, (data, output, options, resume, cut) in zip(sys.argv[2:], runs, strict=True):
        # A port for each: the process that is done first would meet the other's last team there.
        os.environ["MASTER_PORT"] = port

        def tell(progress):
            print(output.name, progress.step, flush=True)
            if progress.step == cut:
                import signal
                os.kill(os.getpid(), signal.SIGINT)

        try:
            train(data, output, options, resume=resume, on_progress=tell)
        except KeyboardInterrupt:
            print(output.name, "interrupted", flush=True)
    """
)

Run = tuple[Path, Path, TrainingOptions, bool, int | None]  # data, output, options, resume, cut


def train_together(folder: Path, runs: list[Run], *, processes: int = 2) -> list[list[str]]:
    """What each process says, started as torchrun would."""
    (folder / "runs.pickle").write_bytes(pickle.dumps(runs))
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in runs]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        ports = [str(probe.getsockname()[1]) for probe in probes]
    surroundings = {
        **os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1",
        "WORLD_SIZE": str(processes), "GLOO_SOCKET_IFNAME": "lo",
    }  # fmt: skip
    team = [
        subprocess.Popen(
            [sys.executable, "-c", PROCESS, str(folder / "runs.pickle"), *ports],
            env={**surroundings, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(processes)
    ]
    try:
        said = [process.communicate(timeout=300) for process in team]
    finally:
        for process in team:
            process.kill()
    errors = "\n".join(error for _, error in said)
    assert [process.returncode for process in team] == [0] * processes, errors
    return [text.splitlines() for text, _ in said]


def assert_nearly_the_same(one: Path, other: Path) -> None:
    """Weights and running averages agree up to the rounding of sums in another order."""
    first, second = state_of(one), state_of(other)
    assert first["step"] == second["step"]
    for part in ("model", "average"):
        for key, value in first[part].items():
            assert_close(second[part][key], value, rtol=1e-3, atol=1e-5, msg=f"{part} {key}")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos that are laid out alike and photos that are not; weights to begin with."""
    folder = tmp_path_factory.mktemp("team")
    for name in ("alike", "unlike"):
        (folder / name).mkdir()
    write_even_photos(folder / "alike")
    write_photos(folder / "unlike", "train.jsonl", 8)
    write_photos(folder / "unlike", "val.jsonl", 2, first=8)
    write_backbone(folder / "b.safetensors", seed=7)
    return folder


@pytest.fixture(scope="module")
def options(folder: Path) -> TrainingOptions:
    """Crops, dropout and draws of every kind; the pretrained layers begin after three steps."""
    return TrainingOptions(
        config=tiny_config().replace(language_dropout=0.2),
        backbone_weights=folder / "b.safetensors", backbone_blocks_frozen=16, backbone_after=1.5,
        backbone_momentum=0.9, steps=6, batch_size=4, warm_up=2, bfloat16=False, word_count=1,
        validate_every=2, patience=5, workers=0, device="cpu",
    )  # fmt: skip


def on_kept_maps(folder: Path, options: TrainingOptions, maps: str) -> TrainingOptions:
    """A frozen backbone of timm, whose maps of one view of each photo are kept."""
    return dataclasses.replace(
        options, config=tiny_timm_config(), pretrained=False, backbone_blocks_frozen=9,
        backbone_after=0.0, backbone_momentum=None, views=1, feature_cache=folder / maps,
    )  # fmt: skip


@pytest.fixture(scope="module")
def said(folder: Path, options: TrainingOptions) -> list[list[str]]:
    """Two processes do all that is looked at below, one after another."""
    unlike, alike = folder / "unlike", folder / "alike"
    alone = dataclasses.replace(options, parts=2)
    train(unlike, folder / "alone", alone)
    with pytest.raises(KeyboardInterrupt):
        train(unlike, folder / "handed on", alone, on_progress=stop_at(2, KeyboardInterrupt()))
    return train_together(
        folder,
        [
            (unlike, folder / "together", options, False, None),
            (unlike, folder / "handed on", options, True, None),
            (unlike, folder / "cut", options, False, 4),
            (unlike, folder / "cut", options, True, None),
            (alike, folder / "halves", even(options), False, None),
            (unlike, folder / "kept", on_kept_maps(folder, options, "maps"), False, None),
        ],
    )


def test_two_processes_do_what_one_does_in_two_parts(folder: Path, said: list[list[str]]) -> None:
    assert_nearly_the_same(folder / "alone", folder / "together")
    alone, together = metrics(folder / "alone"), metrics(folder / "together")
    assert len(alone) == len(together) == 6
    for one, other in zip(alone, together, strict=True):
        assert one.keys() == other.keys()
    assert together[0]["total"] == pytest.approx(alone[0]["total"], rel=1e-4)


def test_two_processes_go_on_with_a_run_that_one_began(folder: Path, said: list[list[str]]) -> None:
    assert_nearly_the_same(folder / "alone", folder / "handed on")


def test_ctrl_c_in_one_process_ends_the_step_in_all_and_the_run_goes_on(
    folder: Path, said: list[list[str]]
) -> None:
    assert [line for line in said[0] if line.startswith("cut")] == [
        "cut 2", "cut 4", "cut interrupted", "cut 6",
    ]  # fmt: skip
    assert_nearly_the_same(folder / "together", folder / "cut")


def test_two_processes_are_a_batch_of_both_where_their_photos_are_alike(
    folder: Path, options: TrainingOptions, said: list[list[str]]
) -> None:
    """As many boxes and words in each: the mean of two means is that of all."""
    train(folder / "alike", folder / "whole", even(options))
    assert_nearly_the_same(folder / "whole", folder / "halves")


def test_two_processes_share_a_feature_cache(
    folder: Path, options: TrainingOptions, said: list[list[str]]
) -> None:
    own = on_kept_maps(folder, dataclasses.replace(options, parts=2), "own maps")
    train(folder / "unlike", folder / "kept alone", own)
    assert_nearly_the_same(folder / "kept alone", folder / "kept")
    shared, alone = (
        sorted(str(file.relative_to(maps)) for file in maps.rglob("*"))
        for maps in (folder / "maps", folder / "own maps")
    )
    assert shared == alone == ["0", *(f"0/{photo}.maps" for photo in range(8)), "made_for"]
    marks = {(folder / maps / "made_for").read_text() for maps in ("maps", "own maps")}
    assert len(marks) == 1


def test_only_the_first_process_reports(said: list[list[str]]) -> None:
    first, second = said
    assert first[:3] == ["together 2", "together 4", "together 6"]
    assert second == ["cut interrupted"]


def test_a_process_alone_is_a_team(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    module = nn.Linear(2, 1)
    with Team("cpu") as team:
        assert (team.first, team.size, team.device) == (True, 1, torch.device("cpu"))
        assert torch.equal(team.mean(torch.tensor([1.0, 2.0])), torch.tensor([1.0, 2.0]))
        assert team.any(True)
        assert not team.any(False)
        assert team.share(module, some_idle=False) is module
        with team.apart(module):
            pass
        asked = team.uninterrupted()
        asked.__enter__()
        signal.raise_signal(signal.SIGINT)  # nothing happens yet
        with pytest.raises(KeyboardInterrupt):
            asked.__exit__(None, None, None)


def test_the_log_of_a_team_is_that_of_one(folder: Path, said: list[list[str]]) -> None:
    rows = [
        json.loads(line) for line in (folder / "cut" / "metrics.jsonl").read_text().splitlines()
    ]
    assert [row["step"] for row in rows] == [2, 2, 4, 4, 6, 6]
