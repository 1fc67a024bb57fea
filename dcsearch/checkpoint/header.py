"""Header: a checkpoint's description of itself, read without its weights and without torch."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from dcsearch.checkpoint.file_hash import file_sha256
from dcsearch.errors import CheckpointError, Cure
from dcsearch.model.config import FCLNConfig
from dcsearch.scoring.match import MatchCurve

FORMAT = 1
METADATA_KEY = "dcsearch"
_LONGEST_FORMAT = 20  # characters; what is longer names no format


@dataclass(frozen=True, kw_only=True)
class CheckpointHeader:
    """The description inside a checkpoint file."""

    path: Path
    name: str
    sha256: str  # of the file's bytes, hexadecimal
    config: FCLNConfig
    recorded_config: dict[str, Any]  # as the file has it; fields that came later are absent
    words: tuple[str, ...]
    provenance: dict[str, Any]
    match: MatchCurve | None = None  # None: its scores were not calibrated


def default_checkpoint_path() -> Path:
    """The checkpoint that ships inside the package."""
    return Path(__file__).parent.parent / "weights" / "default.safetensors"


def write_header(
    *,
    name: str,
    config: FCLNConfig,
    words: tuple[str, ...],
    provenance: dict[str, Any],
    match: MatchCurve | None = None,
) -> dict[str, str]:
    """The header as safetensors metadata."""
    header = {
        "format": FORMAT,
        "name": name,
        "config": config.to_json(),
        "words": list(words),
        "provenance": provenance,
    }
    if match is not None:
        header["match"] = match.to_json()
    return {METADATA_KEY: json.dumps(header)}


def read_header(path: Path | None = None) -> CheckpointHeader:
    """The header of a checkpoint file; None is the default that ships in the package.

    Raises:
        CheckpointError: no such file, damaged, not made by dcsearch, or of another format.
    """
    path = path or default_checkpoint_path()
    try:
        sha256 = file_sha256(path)
    except FileNotFoundError:
        raise CheckpointError(f"no checkpoint at {path}", Cure.NAME_CHECKPOINT) from None
    except OSError as error:
        raise CheckpointError(
            f"checkpoint {path} cannot be read ({error.strerror}); name another"
        ) from None
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
    except (SafetensorError, OSError, ValueError):
        raise CheckpointError(
            f"{path} is damaged or no checkpoint of dcsearch; name another"
        ) from None
    if METADATA_KEY not in metadata:
        raise CheckpointError(f"{path} holds weights but was not made by dcsearch; name another")
    try:
        header = json.loads(metadata[METADATA_KEY])
        made_as = header["format"]
        if made_as == FORMAT:
            if not all(isinstance(text, str) for text in (header["name"], *header["words"])):
                raise ValueError("names and words are texts")
            return CheckpointHeader(
                path=path,
                name=header["name"],
                sha256=sha256,
                config=FCLNConfig.from_json(dict(header["config"])),
                recorded_config=dict(header["config"]),
                words=tuple(header["words"]),
                provenance=dict(header["provenance"]),
                match=MatchCurve.from_json(header["match"]) if "match" in header else None,
            )
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError):
        raise damaged(path) from None
    if len(str(made_as)) > _LONGEST_FORMAT:
        raise damaged(path)
    raise CheckpointError(
        f"{path} is of checkpoint format {made_as}, this dcsearch reads {FORMAT}; "
        "install the dcsearch that made it"
    )


def damaged(path: Path) -> CheckpointError:
    """The error of a file whose parts do not fit each other."""
    return CheckpointError(
        f"{path} is damaged: its weights do not fit its own description; name another"
    )
