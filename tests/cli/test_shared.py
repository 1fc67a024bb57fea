"""Groups of options: what a command line with them becomes, and what the help says of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, get_args, get_type_hints

import pytest
import typer
from typer.testing import CliRunner

from cli.shared import generated, grouped
from dcsearch.choices import Context, Network, Score
from dcsearch.model import presets
from dcsearch.model.config import LanguageConfig
from dcsearch.scoring.formula import SCORES
from dcsearch.training.options import TrainingOptions, option

said: list[object] = []


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where."""

    city: Annotated[str, typer.Argument(help="A city.")]
    street: Annotated[str | None, typer.Option("--street", help="A street.")] = None


@dataclass(frozen=True, kw_only=True)
class Route:
    """How, as a library has it."""

    speed: float = option(2.5, "Kilometres per hour.", unit="X", least=0.5, group="motion")
    way: Literal["on foot", "BUS"] = option("on foot", "Means of transport.")
    direct: bool = option(True, "Without stops.")
    stops: int | None = option(None, "Number of stops.", unit="N", least=0, default_text="all")
    kept: list[str] = field(default_factory=list)  # is not offered


def command(function: Any) -> typer.Typer:
    app = typer.Typer()
    app.command()(function)
    return app


@grouped
def go(*, place: Place, fast: Annotated[bool, typer.Option("--fast")] = False) -> None:
    """Go there."""
    said.append((place, fast))


@generated("changes", Route, flags={"stops": "--stops -s"}, panels={"motion": "Motion"})
def travel(*, changes: Mapping[str, Any], name: str = "x") -> None:
    """Go anywhere."""
    said.append((changes, name))


def run(function: Any, *arguments: str) -> Any:
    outcome = CliRunner().invoke(command(function), list(arguments), catch_exceptions=False)
    assert outcome.exit_code == 0, outcome.output
    return said.pop()


def test_a_group_is_made_of_the_options_of_its_fields() -> None:
    assert run(go, "Rome") == (Place(city="Rome"), False)
    arguments = ("--street", "Via Appia", "Rome", "--fast")
    assert run(go, *arguments) == (Place(city="Rome", street="Via Appia"), True)


def test_a_grouped_command_keeps_its_name_and_help() -> None:
    assert go.__name__ == "go"
    assert go.__doc__ == "Go there."
    help = CliRunner().invoke(command(go), ["--help"]).output
    assert "A city." in help
    assert "A street." in help


def test_only_what_is_given_reaches_the_command() -> None:
    assert run(travel) == ({}, "x")
    arguments = ("--way", "bus", "--speed", "3", "--no-direct", "-s", "0", "--name", "y")
    assert run(travel, *arguments) == (
        {"way": "BUS", "speed": 3.0, "direct": False, "stops": 0},
        "y",
    )


@pytest.mark.parametrize("arguments", [("--speed", "0.4"), ("--speed", "nan"), ("--way", "BUS")])
def test_a_value_out_of_range_is_refused(arguments: tuple[str, ...]) -> None:
    assert CliRunner().invoke(command(travel), list(arguments)).exit_code == 2


def test_the_help_of_a_field_shows_its_text_panel_and_default() -> None:
    help = CliRunner().invoke(command(travel), ["--help"], env={"COLUMNS": "200"}).output
    assert "Motion" in help
    assert "Kilometres per hour. [default: (2.5)]" in " ".join(help.split())
    assert "<on-foot|bus>" in help
    assert "[default: (all)]" in help
    assert "--kept" not in help


def test_the_choices_are_those_of_the_library() -> None:
    assert set(get_args(Score)) == set(SCORES)
    assert get_args(get_type_hints(LanguageConfig)["context"]) == get_args(Context)
    assert {network.replace("-", "_") for network in get_args(Network)} == set(presets.NETWORKS)
    assert TrainingOptions.preset(None) == TrainingOptions()
    assert TrainingOptions.preset("paper") == TrainingOptions.paper()
