"""Models: the networks that a user keeps, each a weights file of its own in one folder.

`NAME.safetensors` is the model called NAME, `NAME.safetensors.json` its hash as it came here and
from where, `in-use` the name of the one that commands use by themselves. The model that ships with
the program is called "default" and lies elsewhere. Nothing here imports torch before it must.
"""

import contextlib
import fcntl
import os
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from dcsearch.errors import CheckpointError, UsageError
from dcsearch.model.file_hash import (
    file_sha256,
    read_record,
    record_file,
    sha256_of_bytes,
    write_record,
)
from dcsearch.model.header import CheckpointHeader, default_checkpoint_path, read_header
from dcsearch.model.tensors import (
    parameters,
    precision,
    require_sound,
    shape_problems,
    stored_tensors,
    value_problems,
)
from indexer.path_text import printable

SHIPPED = "default"
RELEASED = "densecap-vgg16"  # what `fetch` calls the model that the paper's authors released
RELEASED_URL = "http://cs.stanford.edu/people/jcjohns/densecap/densecap-pretrained-vgg16.t7.zip"
SUFFIX = ".safetensors"
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,99}")
_TORCH7 = (b"\3\0\0\0", b"\4\0\0\0")  # how the format begins: a table, or an object

Precision = Literal["float16", "float32"]
Progress = Callable[[str, int, int | None], None]  # what, done, in all


@dataclass(frozen=True, kw_only=True)
class ModelInfo:
    """What a weights file says of itself, and what is known of it here.

    Attributes:
        name: under which it is kept; None for a file that lies elsewhere.
        bytes: size of the file.
        in_use: commands that name no model use it.
        header: its config, words and provenance.
        parameters: numbers that training can change.
        precision: in which most of them are stored, "F16" or "F32".
        source: file or address that it came from; empty where that was not recorded.
        added: when, ISO 8601 in UTC; likewise.
    """

    name: str | None
    path: Path
    bytes: int
    in_use: bool
    header: CheckpointHeader
    parameters: int
    precision: str
    source: str
    added: str

    @property
    def terms(self) -> str:
        """The licence that its provenance names; empty where it names none."""
        named = (self.header.provenance.get(key) for key in ("licence", "license", "terms"))
        return next((str(each) for each in named if each), "")


@dataclass(frozen=True, kw_only=True)
class Verification:
    """What `verify` found: a sentence for each thing that it looked at."""

    sound: bool
    sentences: tuple[str, ...]


class Models:
    """The models of one folder, and the one that ships."""

    def __init__(self, folder: Path | None = None) -> None:
        """Take a folder, which need not exist yet.

        Args:
            folder: None is the user's: the environment's DCSEARCH_MODELS, else `models` beside
                the default index.
        """
        self.folder = folder or _users_folder()

    def names(self) -> list[str]:
        """The name of every model: the one that ships, then the others in order."""
        found = (file.name.removesuffix(SUFFIX) for file in self.folder.glob(f"*{SUFFIX}"))
        return [SHIPPED, *sorted(name for name in found if _is_name(name))]

    def file(self, text: str) -> Path:
        """The weights file that a name, or a path, means; a name goes first.

        Raises:
            CheckpointError: it could only be a name, and no model is called so.
        """
        if text == SHIPPED:
            return default_checkpoint_path()
        if _is_name(text):
            if (kept := self._kept(text)).exists():
                return kept
            if not os.path.lexists(text):
                raise CheckpointError(
                    f"no model is called {text!r}, and there is no such file; see: "
                    "dcsearch model list"
                )
        return Path(text)

    def name(self, file: Path) -> str | None:
        """The name of a weights file; None where it is no model of this folder."""
        file = file.absolute()
        if file == default_checkpoint_path():
            return SHIPPED
        name = file.name.removesuffix(SUFFIX)
        return name if _is_name(name) and file == self._kept(name) else None

    def name_of_hash(self, sha256: str) -> str | None:
        """The name of the model with this hash; None where there is none."""
        for name in self.names():
            with contextlib.suppress(OSError):
                if file_sha256(self.file(name)) == sha256:
                    return name
        return None

    def in_use(self) -> str:
        """The name of the model that commands use when none is named.

        Raises:
            CheckpointError: it cannot be told.
        """
        choice = self.folder / "in-use"
        try:
            name = choice.read_text(encoding="ascii").strip()
        except (FileNotFoundError, NotADirectoryError):
            return SHIPPED
        except (OSError, ValueError):
            name = ""
        if name != SHIPPED and not _is_name(name):
            raise CheckpointError(
                f"{printable(choice)} names no model; choose one, such as: dcsearch model use "
                f"{SHIPPED}"
            )
        return name

    def file_in_use(self) -> Path | None:
        """The weights that commands use when no model is named; None is the one that ships.

        Raises:
            CheckpointError: it is gone, or it cannot be told.
        """
        name = self.in_use()
        if name == SHIPPED:
            return None
        if not (kept := self._kept(name)).exists():
            raise CheckpointError(
                f"the model in use, {name!r}, is no longer in {printable(self.folder)}; choose "
                f"another, such as: dcsearch model use {SHIPPED}"
            )
        return kept

    def use(self, name: str) -> None:
        """Make a model the one that commands use when none is named.

        Raises:
            UsageError: that is no name, or the choice cannot be written.
            CheckpointError: there is no such model, or it cannot be read.
        """
        if name != SHIPPED:
            read_header(self._existing(name))
        with self._writing():
            part = self.folder / "in-use.part"
            part.write_text(name + "\n", encoding="ascii")
            os.replace(part, self.folder / "in-use")

    def info(self, file: Path) -> ModelInfo:
        """What there is to know of a weights file without loading it.

        Raises:
            CheckpointError: it cannot be read.
        """
        header, tensors, record = read_header(file), stored_tensors(file), read_record(file)
        name = self.name(file)
        return ModelInfo(
            name=name,
            path=file,
            bytes=file.stat().st_size,
            in_use=name is not None and name == self.in_use(),
            header=header,
            parameters=parameters(tensors),
            precision=precision(tensors),
            source=str(record.get("source", "")),
            added=str(record.get("added", "")),
        )

    def add(
        self,
        source: Path,
        *,
        name: str | None = None,
        precision: Precision | None = None,
        on_progress: Progress | None = None,
    ) -> ModelInfo:
        """Take a model into the folder.

        Args:
            source: a checkpoint of ours, of which a copy is made; the authors' `.t7`; or the zip
                that they published it in.
            name: None is the name that a checkpoint of ours has inside, or the file's own.
            precision: in which the numbers of a `.t7` are kept; None is float32, as there.
            on_progress: told what is going on, and how far it is.

        Raises:
            UsageError: the name is none or taken, a precision is asked of a checkpoint that has
                one, or the folder cannot be written.
            CheckpointError: the file is missing, damaged, or holds no such model.
        """
        with self._adding():
            origin = printable(source.absolute())
            return self._add(source, name, precision, on_progress or _silent, origin)

    def fetch(
        self,
        *,
        url: str = RELEASED_URL,
        name: str = RELEASED,
        precision: Precision | None = None,
        on_progress: Progress | None = None,
    ) -> ModelInfo:
        """Download the model that the paper's authors released, and take it into the folder.

        What has come is kept until the model is here, so that the next call goes on from there.

        Args:
            url: of their zip.
            name, precision, on_progress: as for `add`.

        Raises:
            UsageError: the name is taken, the address is none, or the disk has no room.
            CheckpointError: the file cannot be downloaded, or is not the model.
        """
        from indexer.download import ConnectionBroken, download

        tell = on_progress or _silent
        with self._adding():
            self._require_free(name)
            archive = self.folder / f"{name}.zip"
            try:
                download(url, archive, on_progress=lambda n, of: tell("downloading", n, of))
            except ConnectionBroken as error:
                raise CheckpointError(
                    f"{url} cannot be downloaded ({error}); run the same command again, which "
                    "goes on from there, or get the file in another way and: "
                    f"dcsearch model import FILE --name {name}"
                ) from None
            try:
                with self._unpacked(archive, name, tell) as unpacked:
                    model = self._add(unpacked, name, precision, tell, url)
            except _DamagedArchive as error:
                archive.unlink()
                raise CheckpointError(
                    f"what came from {url} was no zip of the model ({error}) and is removed; run "
                    "the same command again, or name another address with --url"
                ) from None
            archive.unlink()
        return model

    def remove(self, name: str) -> None:
        """Delete a model; an index that it made can be asked no more.

        Raises:
            UsageError: that is no name, or the model in use.
            CheckpointError: there is no such model.
        """
        kept = self._existing(name)
        if name == self.in_use():
            raise UsageError(
                f"the model {name!r} is in use; choose another first, such as: dcsearch model use "
                f"{SHIPPED}"
            )
        with self._writing():
            kept.unlink()
            record_file(kept).unlink(missing_ok=True)

    def verify(self, file: Path) -> Verification:
        """Compare a weights file with what was recorded of it, its config, and what numbers are.

        A model of the folder that has no record gets one, and one whose date has changed is found
        to be the same, so that its hash need not be computed by every command.

        Raises:
            CheckpointError: the file cannot be read at all.
        """
        header = read_header(file)
        name, recorded, found = self.name(file), read_record(file).get("sha256"), _hash(file)
        if recorded is None:
            hashes = f"hash: {found}; none was recorded to compare it with"
        elif recorded == found:
            hashes = f"hash: {found}, as recorded"
        else:
            hashes = f"hash: {found}, but {recorded} was recorded: the file has changed"
        shapes, values = shape_problems(header), value_problems(file)
        tensors = len(stored_tensors(file))
        sound = recorded in (None, found) and not shapes and not values
        if sound and name not in (None, SHIPPED):
            with contextlib.suppress(UsageError), self._writing():  # where it can be written
                details = {key: str(read_record(file).get(key, "")) for key in ("source", "added")}
                write_record(file, found, **details)
        return Verification(
            sound=sound,
            sentences=(
                hashes,
                *[f"shape: {problem}" for problem in shapes],
                *[f"value: {problem}" for problem in values],
                *([] if shapes else [f"shapes: all {tensors:,} tensors are those of its network"]),
                *([] if values else ["values: all numbers are finite"]),
            ),
        )

    def export(self, file: Path, output: Path) -> None:
        """Copy a weights file, which has all that belongs to the model inside.

        Raises:
            CheckpointError: it cannot be read, or is not what was recorded of it.
            UsageError: the copy cannot be written.
        """
        header = read_header(file)
        with writing(output) as part:
            shutil.copyfile(file, part)
            _require_copied(header, part)

    def _add(
        self,
        source: Path,
        name: str | None,
        precision: Precision | None,
        tell: Progress,
        origin: str,
    ) -> ModelInfo:
        beginning = _beginning(source)
        if beginning.startswith(b"PK\3\4"):
            name = self._require_free(name or _stem(source))
            try:
                with self._unpacked(source, name, tell) as unpacked:
                    return self._add(unpacked, name, precision, tell, origin)
            except _DamagedArchive as error:
                raise CheckpointError(
                    f"{printable(source)} is no zip of the model ({error}); get the file again"
                ) from None
        arriving = self.folder / "arriving.part"
        try:
            if beginning[8:9] == b"{":  # safetensors: the length of its header, then JSON
                if precision is not None:
                    raise UsageError(
                        f"{printable(source)} is kept as it is; --float16 and --float32 are for "
                        "the authors' .t7"
                    )
                header = read_header(source)
                name = self._require_free(name or header.name)
                _require_room(self.folder, source.stat().st_size, "the copy")
                require_sound(header)
                shutil.copyfile(source, arriving)
                _require_copied(header, arriving)
            elif beginning.startswith(_TORCH7):
                import torch

                from dcsearch.released import import_released

                name = self._require_free(name or _stem(source))
                import_released(
                    source,
                    arriving,
                    name=name,
                    dtype=getattr(torch, precision or "float32"),
                    on_progress=lambda done, of: tell("importing", done, of),
                )
            else:
                raise CheckpointError(
                    f"{printable(source)} is neither a checkpoint of dcsearch nor the authors' .t7 "
                    "or its zip; name such a file"
                )
            sha256 = _hash(arriving)
            os.replace(arriving, self._kept(name))
        finally:
            arriving.unlink(missing_ok=True)
        added = datetime.now(UTC).isoformat(timespec="seconds")
        write_record(self._kept(name), sha256, source=origin, added=added)
        return self.info(self._kept(name))

    @contextlib.contextmanager
    def _unpacked(self, archive: Path, name: str, tell: Progress) -> Iterator[Path]:
        """The one `.t7` of a zip as a file, which is removed when the block ends.

        Raises:
            UsageError: the disk has no room for it.
            _DamagedArchive: it is no zip, does not hold one `.t7`, or is damaged.
        """
        unpacked = self.folder / f"{name}.t7"
        try:
            _unpack(archive, unpacked, tell)
            yield unpacked
        finally:
            unpacked.unlink(missing_ok=True)

    def _kept(self, name: str) -> Path:
        return self.folder / f"{name}{SUFFIX}"

    def _existing(self, name: str) -> Path:
        """The file of a model that came here.

        Raises:
            UsageError: that is no name of such a one.
            CheckpointError: there is none.
        """
        kept = self._kept(_require_name(name))
        if not kept.exists():
            raise CheckpointError(f"no model is called {name!r}; see: dcsearch model list")
        return kept

    def _require_free(self, name: str) -> str:
        """The name, when a new model can have it.

        Raises:
            UsageError: it cannot.
        """
        if self._kept(_require_name(name)).exists():
            raise UsageError(
                f"there is a model {name!r} already; choose another name with --name, or remove "
                f"that one with: dcsearch model remove {name}"
            )
        return name

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """Makes the folder, and a sentence of what hinders writing there.

        Raises:
            UsageError: something does.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            yield
        except OSError as error:
            raise UsageError(
                f"the models in {printable(self.folder)} cannot be changed "
                f"({error.strerror or error}); mend that, or name another folder with "
                "DCSEARCH_MODELS"
            ) from error

    @contextlib.contextmanager
    def _adding(self) -> Iterator[None]:
        """Lets one program at a time add models, whose unfinished files have fixed names.

        Raises:
            UsageError: another does, or the folder cannot be written.
        """
        with self._writing(), open(self.folder / "lock", "w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UsageError(
                    f"another dcsearch is adding to the models in {printable(self.folder)}; wait "
                    "for it"
                ) from None
            yield


class _DamagedArchive(Exception):
    """A zip that cannot be unpacked; the message is the reason."""


def how_to_use(sha256: str) -> str:
    """How commands are told to use the model with this hash: the cure of an index it made."""
    name = Models().name_of_hash(sha256)
    if name is None:
        return "name that model with --model"
    return f"add --model {name} (or, for all commands: dcsearch model use {name})"


@contextlib.contextmanager
def writing(output: Path) -> Iterator[Path]:
    """A file to write to, which becomes `output` when the block ends well.

    Raises:
        UsageError: it cannot be written.
    """
    part = output.with_name(output.name + ".part")
    try:
        yield part
        os.replace(part, output)
    except OSError as error:
        raise UsageError(f"{printable(output)} cannot be written: {error.strerror}") from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink()


def _users_folder() -> Path:
    if named := os.environ.get("DCSEARCH_MODELS"):
        return Path(named).expanduser().absolute()
    from platformdirs import user_data_path

    return user_data_path("dcsearch", appauthor=False) / "models"


def _is_name(text: str) -> bool:
    """Whether a model that came here can be called so: not a path, nor the model that ships."""
    return bool(_NAME.fullmatch(text)) and text != SHIPPED and not text.endswith(SUFFIX)


def _require_name(text: str) -> str:
    if text == SHIPPED:
        raise UsageError(f"{SHIPPED!r} is the model that ships; choose another name with --name")
    if not _is_name(text):
        raise UsageError(
            f"{printable(text)!r} cannot be a model's name; use letters, digits and _ . + -, "
            "100 at the most"
        )
    return text


def _stem(file: Path) -> str:
    return file.name.removesuffix(".zip").removesuffix(".t7")


def _beginning(source: Path) -> bytes:
    try:
        with open(source, "rb") as stream:
            return stream.read(9)
    except OSError as error:
        raise CheckpointError(
            f"{printable(source)} cannot be read ({error.strerror}); name a checkpoint of "
            "dcsearch, or the authors' .t7 or its zip"
        ) from None


def _unpack(archive: Path, unpacked: Path, tell: Progress) -> None:
    import zipfile
    import zlib

    try:
        with zipfile.ZipFile(archive) as opened:
            members = [each for each in opened.infolist() if each.filename.endswith(".t7")]
            if len(members) != 1:
                raise _DamagedArchive(f"it holds {len(members) or 'no'} .t7 files")
            size = members[0].file_size
            _require_room(unpacked.parent, size, f"unpacking {printable(archive)}")
            with opened.open(members[0]) as packed, open(unpacked, "wb") as stream:
                while chunk := packed.read(1 << 20):  # compares the checksum at the end
                    stream.write(chunk)
                    tell("unpacking", stream.tell(), size)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise _DamagedArchive(str(error) or type(error).__name__) from None


def _hash(file: Path) -> str:
    try:
        return sha256_of_bytes(file)
    except OSError as error:
        raise CheckpointError(
            f"{printable(file)} cannot be read ({error.strerror}); name another file"
        ) from None


def _require_copied(header: CheckpointHeader, copy: Path) -> None:
    if _hash(copy) != header.sha256:
        raise CheckpointError(
            f"{printable(header.path)} is not what was recorded of it; see: dcsearch model verify "
            f"{printable(header.path)}"
        )


def _require_room(folder: Path, size: int, what: str) -> None:
    from indexer.download import require_room

    require_room(folder, size, what)


def _silent(what: str, done: int, of: int | None) -> None: ...
