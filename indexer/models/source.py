"""Files that a model can be taken from: a checkpoint of dcsearch, the authors' `.t7`, their zip."""

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from dcsearch.errors import CheckpointError
from indexer.photos.paths import printable

RELEASED = "densecap-vgg16"  # what `fetch` calls the model that the paper's authors released
RELEASED_URL = "http://cs.stanford.edu/people/jcjohns/densecap/densecap-pretrained-vgg16.t7.zip"
_TORCH7 = (b"\3\0\0\0", b"\4\0\0\0")  # how the format begins: a table, or an object

Precision = Literal["float16", "float32"]
Progress = Callable[[str, int, int | None], None]  # what, done, in all
Kind = Literal["checkpoint", "torch7", "zip"]


def source_kind(source: Path) -> Kind:
    """What a file is, by its first bytes.

    Raises:
        CheckpointError: it cannot be read, or is none of these.
    """
    try:
        with open(source, "rb") as stream:
            beginning = stream.read(9)
    except OSError as error:
        raise CheckpointError(
            f"{printable(source)} cannot be read ({error.strerror}); name a checkpoint of "
            "dcsearch, or the authors' .t7 or its zip"
        ) from None
    if beginning.startswith(b"PK\3\4"):
        return "zip"
    if beginning[8:9] == b"{":  # safetensors: the length of its header, then JSON
        return "checkpoint"
    if beginning.startswith(_TORCH7):
        return "torch7"
    raise CheckpointError(
        f"{printable(source)} is neither a checkpoint of dcsearch nor the authors' .t7 "
        "or its zip; name such a file"
    )


def stem(source: Path) -> str:
    """The name of a `.t7`, or of a zip of one, without what tells its kind."""
    return source.name.removesuffix(".zip").removesuffix(".t7")


def convert(
    source: Path, target: Path, *, name: str, precision: Precision | None, tell: Progress
) -> None:
    """Write the authors' `.t7` as a checkpoint of dcsearch.

    Args:
        precision: of its numbers; None is float32, as there.
        tell: called with ("importing", done, of).

    Raises:
        CheckpointError: the file is damaged, or holds another network.
    """
    import torch  # most of what is done with models needs no torch

    from dcsearch.checkpoint.released import import_released

    import_released(
        source,
        target,
        name=name,
        dtype=getattr(torch, precision or "float32"),
        on_progress=lambda done, of: tell("importing", done, of),
    )
