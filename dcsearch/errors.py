"""What a user can solve, as a tree of exceptions; everything else is a bug and keeps its traceback.

    DcsearchError
    ├── UsageError        a value the user gave cannot be used (phrase, path, option)
    │   ├── DataError     a dataset file is malformed
    │   └── MissingExtra  an optional package is not installed
    ├── IndexUnusable     no index, or one that cannot be read, written or used with the model
    │   └── IndexAway     its server cannot be reached just now
    ├── CheckpointError   a weights file is missing, damaged or foreign
    ├── MachineFault      no memory, too many open files, a full disk, a drive that is away
    └── PhotoError        one photo cannot be used; the message is the reason

The message says what happened, in one sentence that is the same for every front end. Where the
cure is an option or a command, which every front end has under a name of its own, the error carries
it as a `Cure`: the command line words it in cli/cures.py.
"""

from enum import StrEnum
from typing import Self


class Cure(StrEnum):
    """What solves a problem; where it needs values, the error has them by the names in brackets."""

    ASK = "give a phrase to search for"
    EXCLUDE = "exclude what photos should not show, ask for what they should"
    WRITE_COUNT = "write the count as a comparison and a whole number"
    COUNT_ONE = "count regions of one phrase alone"
    WRITE_AREA = "give the least area as a percentage"
    USE_CPU = "compute on the CPU"
    GIVE_REGIONS = "evaluate the model on given regions, or choose another model"
    CHOOSE_FORM = "say which format the dataset has"
    CHOOSE_SPLIT = "name one file, or the split"
    LEAVE_OUT_IMAGES = "name no folders of photos"
    MORE_PARTS = "compute a step in a multiple of so many parts [processes]"
    FITTING_BATCH = "make a step of a multiple of so many photos [parts]"
    NAME_CHECKPOINT = "name a checkpoint file that training made"
    BACKBONE_WEIGHTS = "name a file of the backbone's weights"
    PLAIN_PADDING = "leave the padding as torchvision has it, or name a file of weights"
    OTHER_BACKBONE = "name another backbone"
    SAME_NETWORK = "train the network of the model that the run begins with, or begin without it"
    FREEZE_BACKBONE = "freeze all blocks [blocks] and limit the views, or keep no feature maps"
    FEWER_PROCESSES = "start one process for each GPU at most, or compute on the CPU"
    ADD_VALIDATION = "add photos to validate on, or do not end the training early"
    START_ANEW = "start the run from its beginning"
    RESUME = "resume the run, or name another folder"
    MAKE_TABLE = "make the table of words anew"
    CHOOSE_CATEGORIES = "name the categories: phrases of the dataset"
    FEWER_QUERIES = "ask for at most so many queries [photos]"
    OTHER_CACHE = "delete the file, or name another folder to keep described photos in"
    DEFAULT_SCORE = "rank by the model's default score, not by this one [score]"
    SET_HOME = "name a file for the index, or say where the home folder is"
    NAME_INDEX = "name a file for the index"
    INDEX_IN_FOLDER = "name a file for the index, such as this one in the folder [file]"
    OTHER_INDEX = "name another file for the index"
    MAKE_INDEX = "make the index from folders of photos"
    CHECK_INDEX_FILE = "check the file, its folder and disk, or name another file"
    WRITABLE_INDEX = "make the file and its folder writable, or name another file"
    WAIT_FOR_INDEX = "wait for the other program, or name another file"
    UPGRADE = "install a newer dcsearch, or name another file for the index"
    ADD_PHOTOS = "add photos to the index"
    ADD_PHOTO = "add the photo to the index"
    USE_INDEX_MODEL = (
        "use the model of the index [model] or another index, or describe the photos anew"
    )
    NAME_INDEX_MODEL = "name the model or another index, or describe the photos anew"
    LIST_QUERIES = "list the past queries"
    GIVE_WORDS = "give words to look for in the captions"
    LIST_MODELS = "list the models"
    CHOOSE_MODEL = "choose another model to use"
    NAME_MODEL = "give the model another name"
    FREE_NAME = "give the model another name, or remove the one of this name [model]"
    VERIFY_MODEL = "verify the model's file [file]"
    KEEP_PRECISION = "choose no precision"
    FETCH_AGAIN = "fetch again, or get the file in another way and import it [model]"
    OTHER_ADDRESS = "fetch again, or from another address"
    FREE_MEMORY = "free memory, or do less at a time"
    OPEN_FEWER_FILES = "allow more open files, or open fewer at a time"
    FREE_SPACE = "free space on the disk"
    MEND_DRIVE = "mend the drive or the way to it"
    MEND_NETWORK = "mend the way to the storage, or what gives access to it"
    BRING_BACK = "bring back what is gone, or say that it was deleted"
    MEND_CACHE = "make the place of the search cache writable, or free space there"
    INDEX_AGAIN = "index the folders of the photos again"
    REPAIR_INDEX = "have the index checked and repaired"
    WHOLE_PATH = "write the whole path, or change to another folder"
    MAKE_PRIVATE = "let nobody else read the index"
    SET_CLOCK = "set the clock of this machine"
    SET_LOCALE = "use a locale with UTF-8"
    INSTALL_EXTRA = "install an optional part [extra]"
    IMPORT_MODEL = "import the model that made the index, or describe the photos anew"
    RAISE_FILE_LIMIT = "allow more open files"
    RAISE_SIZE_LIMIT = "allow larger files"
    ENTER_FOLDER = "let this user enter the folder"
    OPEN_WRITABLE = "open the index once as a user who may write to its folder"
    RESTORE_INDEX = "put back a copy of the index, or make it anew"
    ASK_AGAIN = "ask the question again"
    CHECK_DISK = "check the disk that the file lies on"
    START_SERVER = "start the database server, or check its address"
    GIVE_PASSWORD = "give the password of the database's user"
    GRANT_RIGHTS = "have rights to the database granted"
    CREATE_DATABASE = "create the database [name]"
    COPY_INDEX = "copy the index into a file"
    NEW_TARGET = "copy into a new file or an empty database"
    OTHER_DATABASE = "name another database for the index"
    START_CLUSTER = "start the Ray cluster, or check its address"
    SAME_VERSIONS = "install the same versions on all machines of the cluster"
    SHARE_FOLDER = "share the folder with all machines of the cluster, under the same path"
    WAIT_FOR_CACHE = "wait for the other process that prepares the search cache"


# A phrase or a file's name within a message may have line ends.
_SPELLED = {ord(end): ascii(end)[1:-1] for end in "\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"}


class DcsearchError(Exception):
    """A problem that the user can solve.

    Attributes:
        cure: the option or command that solves it; None where the message has all there is to say.
        values: what the words of the cure need, by name.
    """

    def __init__(self, message: str, cure: Cure | None = None, **values: object) -> None:
        """Takes what happened, in one sentence without a full stop that names no option.

        Line ends in it are spelled out.
        """
        super().__init__(message.translate(_SPELLED))
        self.cure = cure
        self.values = values


class UsageError(DcsearchError):
    """A phrase, path or option that cannot be used."""


class DataError(UsageError):
    """A dataset file that is missing or malformed."""


class MissingExtra(UsageError):
    """An optional package that is not installed."""

    def __init__(self, purpose: str, extra: str) -> None:
        super().__init__(
            f"{purpose} needs an extra; install it with: pip install 'dcsearch[{extra}]'"
        )
        self._of = purpose, extra

    def __reduce__(self) -> tuple[type[Self], tuple[str, str]]:  # it comes from workers, too
        return type(self), self._of


class IndexUnusable(DcsearchError):
    """An index that is missing, of another version or model, locked, or cannot be written."""


class IndexAway(IndexUnusable):
    """An index whose server cannot be reached just now; the same may work a moment later."""


class CheckpointError(DcsearchError):
    """A weights file that is missing, damaged or not made by dcsearch."""


class PhotoError(DcsearchError):
    """One photo that cannot be used; the message is the reason, without the path."""


class MachineFault(DcsearchError):
    """The machine cannot go on: no memory, too many open files, a full disk, a drive that is away.

    No photo is to blame, and the same may work later. `dcsearch.machine` tells such faults.
    """
