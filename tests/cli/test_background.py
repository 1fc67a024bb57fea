"""Background: power supplies as Linux tells of them, priority and threads."""

import os
import time
from pathlib import Path

import pytest

from cli import background
from cli.background import on_battery, to_background, wait_for_power


def supply(folder: Path, name: str, **values: str) -> None:
    (folder / name).mkdir(parents=True)
    for key, value in values.items():
        (folder / name / key).write_text(value + "\n")


def test_without_supplies_nothing_is_known(tmp_path: Path) -> None:
    assert not on_battery(tmp_path)
    assert not on_battery(tmp_path / "none")


@pytest.mark.parametrize(
    ("status", "online", "expected"),
    [
        ("Discharging", "0", True),
        ("Discharging", "1", False),  # a weak supply: the battery helps
        ("Charging", "1", False),
        ("Full", "0", False),
        ("Unknown", "0", False),
    ],
)
def test_a_battery_that_runs_down(status: str, online: str, expected: bool, tmp_path: Path) -> None:
    supply(tmp_path, "BAT0", type="Battery", status=status)
    supply(tmp_path, "AC", type="Mains", online=online)
    assert on_battery(tmp_path) == expected


def test_the_battery_of_a_mouse_does_not_count(tmp_path: Path) -> None:
    supply(tmp_path, "mouse", type="Battery", scope="Device", status="Discharging")
    assert not on_battery(tmp_path)


def test_it_waits_until_the_supply_is_back(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answers = [True, True, True, False]
    slept: list[float] = []
    monkeypatch.setattr(background, "on_battery", lambda: answers.pop(0))
    monkeypatch.setattr(time, "sleep", slept.append)
    wait_for_power()
    assert slept == [10.0, 10.0]
    assert capsys.readouterr().err.splitlines() == [
        "the machine runs on battery; waiting for its power supply",
        "going on",
    ]


def test_the_process_gets_the_lowest_priority_and_one_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    niceness: list[int] = []
    threads: list[int] = []
    monkeypatch.setattr(os, "nice", niceness.append)
    monkeypatch.setattr(background, "use_threads", threads.append)
    for given in (None, 2):
        assert to_background(given) is wait_for_power
    assert (niceness, threads) == ([19, 19], [1, 2])
