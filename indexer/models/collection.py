"""Models: the networks that a user keeps, each a weights file of its own in one folder.

`NAME.safetensors` is the model called NAME, `NAME.safetensors.json` its hash as it came here and
from where, `in-use` the name of the one that commands use by themselves. The model that ships with
the program is called "default" and lies elsewhere. Nothing here imports torch before it must.
"""

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from dcsearch.checkpoint.file_hash import (
    file_sha256,
    read_record,
    record_file,
    write_record,
)
from dcsearch.checkpoint.header import default_checkpoint_path, read_header
from dcsearch.checkpoint.tensors import (
    parameters,
    precision,
    require_sound,
    stored_tensors,
)
from dcsearch.errors import CheckpointError, Cure, UsageError
from indexer.models.archive import DamagedArchive, unpacked
from indexer.models.disk_room import require_room
from indexer.models.model_info import ModelInfo
from indexer.models.model_name import SHIPPED, SUFFIX, is_name, require_name
from indexer.models.output_file import writing
from indexer.models.source import (
    RELEASED,
    RELEASED_URL,
    Precision,
    Progress,
    convert,
    source_kind,
    stem,
)
from indexer.models.verification import Verification, copy_checked, hash_of, verify
from indexer.photos.paths import absolute_path, printable
from indexer.store.lock import LockTaken, exclusive
from indexer.user_folders import NOWHERE, data_folder


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
        return [SHIPPED, *sorted(name for name in found if is_name(name))]

    def file(self, text: str) -> Path:
        """The weights file that a name, or a path, means; a name goes first.

        Raises:
            CheckpointError: it could only be a name, and no model is called so.
        """
        if text == SHIPPED:
            return default_checkpoint_path()
        if is_name(text):
            if (kept := self._kept(text)).exists():
                return kept
            if not os.path.lexists(text):
                raise CheckpointError(
                    f"no model is called {text!r}, and there is no such file", Cure.LIST_MODELS
                )
        return Path(text)

    def name(self, file: Path) -> str | None:
        """The name of a weights file; None where it is no model of this folder."""
        file = file.absolute()
        if file == default_checkpoint_path():
            return SHIPPED
        name = file.name.removesuffix(SUFFIX)
        return name if is_name(name) and file == self._kept(name) else None

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
            CheckpointError: the choice cannot be read.
        """
        choice = self.folder / "in-use"
        try:
            name = choice.read_text(encoding="ascii").strip()
        except (FileNotFoundError, NotADirectoryError):
            return SHIPPED
        except (OSError, ValueError):
            name = ""
        if name != SHIPPED and not is_name(name):
            raise CheckpointError(f"{printable(choice)} names no model", Cure.CHOOSE_MODEL)
        return name

    def file_in_use(self) -> Path | None:
        """The weights that commands use when no model is named; None is the one that ships.

        Raises:
            CheckpointError: it is gone, or the choice cannot be read.
        """
        name = self.in_use()
        if name == SHIPPED:
            return None
        if not (kept := self._kept(name)).exists():
            raise CheckpointError(
                f"the model in use, {name!r}, is no longer in {printable(self.folder)}",
                Cure.CHOOSE_MODEL,
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
            source: a checkpoint of dcsearch, of which a copy is made; the authors' `.t7`; or the
                zip that they published it in.
            name: None is the name that a checkpoint of dcsearch has inside, or the file's own.
            precision: in which the numbers of a `.t7` are kept; None is float32, as there.
            on_progress: called with (what is being done, done, of).

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
        on_downloaded: Callable[[str], None] | None = None,
    ) -> ModelInfo:
        """Download the model that the paper's authors released, and take it into the folder.

        What has come is kept until the model is here, so that the next call goes on from there.

        Args:
            url: of their zip.
            name, precision, on_progress: as for `add`.
            on_downloaded: told the SHA-256 of what came.

        Raises:
            UsageError: the name is taken, the address is none, or the disk has no room.
            CheckpointError: the file cannot be downloaded, or is not the model.
        """
        from indexer.models.download import ConnectionBroken, download

        tell = on_progress or _silent
        with self._adding():
            self._require_free(name)
            archive = self.folder / f"{name}.zip"
            try:
                download(url, archive, on_progress=lambda n, of: tell("downloading", n, of))
            except ConnectionBroken as error:
                raise CheckpointError(
                    f"{url} cannot be downloaded ({error})", Cure.FETCH_AGAIN, model=name
                ) from None
            if on_downloaded is not None:
                with open(archive, "rb") as came:
                    on_downloaded(hashlib.file_digest(came, "sha256").hexdigest())
            try:
                with unpacked(archive, self._unpacked(name), tell) as released:
                    model = self._add(released, name, precision, tell, url)
            except DamagedArchive as error:
                archive.unlink()
                raise CheckpointError(
                    f"what came from {url} was no zip of the model ({error}) and is removed",
                    Cure.OTHER_ADDRESS,
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
            raise UsageError(f"the model {name!r} is in use", Cure.CHOOSE_MODEL)
        with self._writing():
            kept.unlink()
            record_file(kept).unlink(missing_ok=True)

    def verify(self, file: Path) -> Verification:
        """Check the hash, the tensors' shapes and the values of a weights file.

        A model of the folder that has no record gets one, and one whose date has changed is found
        to be the same, so that its hash need not be computed by every command.

        Raises:
            CheckpointError: the file cannot be read at all.
        """
        found = verify(file)
        if found.sound and self.name(file) not in (None, SHIPPED):
            with contextlib.suppress(UsageError), self._writing():  # where it can be written
                details = {key: str(read_record(file).get(key, "")) for key in ("source", "added")}
                write_record(file, found.sha256, **details)
        return found

    def export(self, file: Path, output: Path) -> None:
        """Copy a weights file, which has all that belongs to the model inside.

        Raises:
            CheckpointError: it cannot be read, or is not what was recorded of it.
            UsageError: the copy cannot be written.
        """
        header = read_header(file)
        with writing(output) as part:
            copy_checked(header, part)

    def _add(
        self,
        source: Path,
        name: str | None,
        precision: Precision | None,
        tell: Progress,
        origin: str,
    ) -> ModelInfo:
        kind = source_kind(source)
        if kind == "zip":
            name = self._require_free(name or stem(source))
            try:
                with unpacked(source, self._unpacked(name), tell) as file:
                    return self._add(file, name, precision, tell, origin)
            except DamagedArchive as error:
                raise CheckpointError(
                    f"{printable(source)} is no zip of the model ({error}); get the file again"
                ) from None
        arriving = self.folder / "arriving.part"
        try:
            if kind == "torch7":
                name = self._require_free(name or stem(source))
                convert(source, arriving, name=name, precision=precision, tell=tell)
            elif precision is not None:
                raise UsageError(f"{printable(source)} is kept as it is", Cure.KEEP_PRECISION)
            else:
                header = read_header(source)
                name = self._require_free(name or header.name)
                require_room(self.folder, source.stat().st_size, "the copy")
                require_sound(header)
                copy_checked(header, arriving)
            sha256 = hash_of(arriving)
            os.replace(arriving, self._kept(name))
        finally:
            arriving.unlink(missing_ok=True)
        added = datetime.now(UTC).isoformat(timespec="seconds")
        write_record(self._kept(name), sha256, source=origin, added=added)
        return self.info(self._kept(name))

    def _unpacked(self, name: str) -> Path:
        return self.folder / f"{name}.t7"

    def _kept(self, name: str) -> Path:
        return self.folder / f"{name}{SUFFIX}"

    def _existing(self, name: str) -> Path:
        """The file of a model that came here.

        Raises:
            UsageError: that is no name of such a one.
            CheckpointError: there is none.
        """
        kept = self._kept(require_name(name))
        if not kept.exists():
            raise CheckpointError(f"no model is called {name!r}", Cure.LIST_MODELS)
        return kept

    def _require_free(self, name: str) -> str:
        """The name, when a new model can have it.

        Raises:
            UsageError: it cannot.
        """
        if self._kept(require_name(name)).exists():
            raise UsageError(f"there is a model {name!r} already", Cure.FREE_NAME, model=name)
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
        with self._writing(), contextlib.ExitStack() as stack:
            try:
                stack.enter_context(exclusive(self.folder / "lock", wait=0.0))
            except LockTaken:
                raise UsageError(
                    f"another dcsearch is adding to the models in {printable(self.folder)}; wait "
                    "for it"
                ) from None
            yield


def _users_folder() -> Path:
    if named := os.environ.get("DCSEARCH_MODELS"):
        return Path(absolute_path(named))
    return (data_folder() or NOWHERE) / "models"


def _silent(what: str, done: int, of: int | None) -> None: ...
