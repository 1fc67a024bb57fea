"""Threads: cores that the process was given, and how threads wait."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from dcsearch.threads import given_cores, multiply_alone, use_threads

ALLOWED = len(os.sched_getaffinity(0))
SHOW = """import os, sys, dcsearch
print(os.environ["OMP_WAIT_POLICY"], "torch" in sys.modules)"""


def machine(root: Path, groups: str, **limits: str) -> Path:
    """A root folder with the control groups of a process, and files by path with __ for /."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(groups)
    for name, text in limits.items():
        file = root / "sys/fs/cgroup" / name.replace("__", "/").replace("_of_", ".")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return root


def cores(root: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """Of a process that may run on eight."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)))
    return given_cores(root)


def test_cores_are_those_of_the_affinity_where_nothing_limits_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cores(tmp_path, monkeypatch) == 8
    assert cores(machine(tmp_path, "0::/\n", cpu_of_max="max 100000"), monkeypatch) == 8


@pytest.mark.parametrize(
    ("limit", "expected"),
    [("200000 100000", 2), ("150000 100000", 2), ("20000 100000", 1), ("1600000 100000", 8)],
)
def test_a_limit_of_the_control_group_counts(
    limit: str, expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = machine(tmp_path, "0::/user/mine\n", user__mine__cpu_of_max=limit)
    assert cores(root, monkeypatch) == expected


def test_the_lowest_limit_of_a_group_and_those_around_it_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = {"user__cpu_of_max": "300000 100000", "user__mine__cpu_of_max": "600000 100000"}
    assert cores(machine(tmp_path, "0::/user/mine\n", **limits), monkeypatch) == 3


def test_limits_of_version_1_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    groups = "4:memory:/a\n3:cpu,cpuacct:/a\n0::/\n"
    limits = {"cpu__a__cpu_of_cfs_quota_us": "400000\n", "cpu__a__cpu_of_cfs_period_us": "100000\n"}
    assert cores(machine(tmp_path / "limited", groups, **limits), monkeypatch) == 4
    limits["cpu__a__cpu_of_cfs_quota_us"] = "-1\n"  # none
    assert cores(machine(tmp_path / "free", groups, **limits), monkeypatch) == 8


@pytest.mark.parametrize("text", ["", "many\n", "100000 0\n", "1 2 3\n"])
def test_limits_that_mean_nothing_are_none(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cores(machine(tmp_path, "0::/\n", cpu_of_max=text), monkeypatch) == 8


@pytest.mark.parametrize(("given", "expected"), [(None, "PASSIVE"), ("ACTIVE", "ACTIVE")])
def test_threads_wait_passively_unless_the_user_says_otherwise(
    given: str | None, expected: str
) -> None:
    surroundings = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    if given is not None:
        surroundings["OMP_WAIT_POLICY"] = given
    shown = subprocess.check_output([sys.executable, "-c", SHOW], env=surroundings, text=True)
    assert shown.split() == [expected, "False"]


@pytest.mark.parametrize(
    ("given", "expected"),
    [({}, "1"), ({"OPENBLAS_NUM_THREADS": "3"}, "3"), ({"OMP_NUM_THREADS": "2"}, None)],
)
def test_products_are_computed_on_one_thread_unless_the_user_says_otherwise(
    given: dict[str, str], expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    multiply_alone()
    found = os.environ.pop("OPENBLAS_NUM_THREADS", None)
    assert found == expected


def test_a_number_of_threads_holds_for_what_is_loaded_and_what_will_be(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = torch.get_num_threads()
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    try:
        use_threads(3)
        assert (torch.get_num_threads(), os.environ["OMP_NUM_THREADS"]) == (3, "3")
        use_threads(None)  # what the user has set stays
        assert (torch.get_num_threads(), os.environ["OMP_NUM_THREADS"]) == (3, "3")
    finally:
        torch.set_num_threads(before)


def test_without_a_number_the_limit_of_the_control_groups_holds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = torch.get_num_threads()
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    try:
        monkeypatch.setattr("dcsearch.threads._quotas", lambda root: [])
        use_threads(None)
        assert "OMP_NUM_THREADS" not in os.environ
        monkeypatch.setattr("dcsearch.threads._quotas", lambda root: [0.5])
        use_threads(None)
        assert os.environ["OMP_NUM_THREADS"] == "1"
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)
