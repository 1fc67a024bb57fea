"""Shared: groups of options that several commands have, so that each is written once.

A group is a frozen dataclass whose fields are options. A command under `@grouped` takes whole
groups as parameters; on the command line they are the options of their fields:

    @grouped
    def retrieval(*, measured: Measured, report: ReportOutput, images: Images = 1000) -> None: ...

`@generated` does the same with the fields of a dataclass of the library that say in their metadata
what they mean (`dcsearch.training.options.option`).
"""

import dataclasses
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import typer

from cli.options import (
    Device,
    Format,
    Json,
    Model,
    On,
    OutputFormat,
    Print0,
    Save,
    Sheet,
    Threads,
    ThreadsOfQuestions,
    a_number,
    chosen_format,
)

Command = Callable[..., None]


def grouped(command: Command) -> Command:
    """The command with the options of its groups in place of the parameters that take them."""
    hints = get_type_hints(command, include_extras=True)
    groups: dict[str, Any] = {
        name: hint for name, hint in hints.items() if dataclasses.is_dataclass(hint)
    }
    return _replaced(
        command,
        {name: _parameters(group) for name, group in groups.items()},
        lambda name, values: groups[name](**values),
    )


def generated(
    name: str, options: type, *, flags: Mapping[str, str], panels: Mapping[str, str]
) -> Callable[[Command], Command]:
    """A decorator: the parameter `name` gets the options that the fields of a dataclass describe.

    The command receives a dict of those that were given, by field.

    Args:
        name: the parameter of the command, a mapping.
        options: a dataclass; fields with `help` in their metadata become options.
        flags: names of the options that differ from `--field-name`; all names, space between.
        panels: the panel of the help that options of a `group` stand in.
    """

    def decorate(command: Command) -> Command:
        described = [field for field in dataclasses.fields(options) if "help" in field.metadata]
        parameters = [_generated(field, flags.get(field.name), panels) for field in described]
        types = {field.name: field.type for field in described}
        return _replaced(
            command,
            {name: parameters},
            lambda _, values: {
                field: _value(types[field], value)
                for field, value in values.items()
                if value is not None
            },
        )

    return decorate


def _replaced(
    command: Command,
    parameters: Mapping[str, Sequence[inspect.Parameter]],
    collected: Callable[[str, dict[str, Any]], object],
) -> Command:
    """The command with some parameters replaced by several, whose values are collected for it."""
    signature = inspect.signature(command)
    hints = get_type_hints(command, include_extras=True)

    def run(**values: Any) -> None:
        for name, replacing in parameters.items():
            own = {each.name: values.pop(each.name) for each in replacing}
            values[name] = collected(name, own)
        command(**values)

    flat: list[inspect.Parameter] = []
    for name, parameter in signature.parameters.items():
        keyword = parameter.replace(annotation=hints[name], kind=inspect.Parameter.KEYWORD_ONLY)
        flat += parameters.get(name, [keyword])
    run.__name__, run.__doc__, run.__module__ = (
        command.__name__,
        command.__doc__,
        command.__module__,
    )
    run.__annotations__ = {each.name: each.annotation for each in flat}
    run.__signature__ = inspect.Signature(flat)  # type: ignore[attr-defined]
    return run


def _parameters(group: type) -> list[inspect.Parameter]:
    hints = get_type_hints(group, include_extras=True)
    return [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            annotation=hints[field.name],
            default=(
                inspect.Parameter.empty if field.default is dataclasses.MISSING else field.default
            ),
        )
        for field in dataclasses.fields(group)
    ]


def _generated(
    field: "dataclasses.Field[Any]", names: str | None, panels: Mapping[str, str]
) -> inspect.Parameter:
    """The option of a field: None where it is not given, whatever the field's default is."""
    about = field.metadata
    flag = "--" + field.name.replace("_", "-")
    if field.type is bool:
        flag += "/--no-" + field.name.replace("_", "-")
    kind, *others = [each for each in get_args(field.type) or (field.type,) if each is not NoneType]
    if get_origin(field.type) is Literal:
        kind = Literal[tuple(map(_slug, (kind, *others)))]
    shown = about.get("default_text") or _shown(field.default)
    option = typer.Option(
        *(names or flag).split(),
        metavar=about.get("unit"),
        min=about.get("least"),
        max=about.get("most"),
        callback=a_number if kind is float else None,
        rich_help_panel=panels.get(about.get("group", "")),
        show_default=shown,
        help=about["help"],
    )
    return inspect.Parameter(
        field.name,
        inspect.Parameter.KEYWORD_ONLY,
        annotation=Annotated[kind | None, option],
        default=None,
    )


def _shown(default: object) -> str | bool:
    """The default as the help shows it; that of a switch stands in its text."""
    if default is None or isinstance(default, bool):
        return False
    return f"{default:g}" if isinstance(default, float) else _slug(str(default))


def _value(kind: Any, value: Any) -> Any:
    """The field's value that a choice on the command line means."""
    if get_origin(kind) is Literal:
        return next(each for each in get_args(kind) if _slug(each) == value)
    return value


def _slug(choice: str) -> str:
    """A choice as it is typed: `detection mAP` is `detection-map`."""
    return choice.lower().replace(" ", "-")


@dataclass(frozen=True, kw_only=True)
class Computing:
    """Which network, and where it runs."""

    model: Model = None
    device: On = Device.auto
    threads: Threads = None  # its callback has acted on it


@dataclass(frozen=True, kw_only=True)
class Searching(Computing):
    """As `Computing`, for a question to an index, which a second thread makes no faster."""

    threads: ThreadsOfQuestions = None  # its callback has acted on it


@dataclass(frozen=True, kw_only=True)
class Results:
    """How results are written to stdout."""

    format: OutputFormat = Format.table
    json: Json = False
    print0: Print0 = False

    def chosen(self, context: typer.Context) -> Format:
        """The one format that the options ask for together.

        Raises:
            UsageError: two different formats are asked for.
        """
        return chosen_format(context, self.format, json=self.json, print0=self.print0)


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """An answer as pictures."""

    save: Save = None
    sheet: Sheet = None

    def check(self) -> None:
        """Makes sure that they can be written, before work is spent on the answer.

        Raises:
            UsageError: one of them cannot.
        """
        if self.save is not None or self.sheet is not None:
            from cli.pictures.album import check_folder, check_sheet

            if self.save is not None:
                check_folder(self.save)
            if self.sheet is not None:
                check_sheet(self.sheet)
