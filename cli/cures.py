"""Cures: what solves a problem, as options and commands of the command line."""

from dcsearch.errors import Cure, DcsearchError

WORDS: dict[Cure, str] = {
    Cure.ASK: "say what to look for, as in: dcsearch query 'a dog'",
    Cure.EXCLUDE: "search for what photos should show, and exclude the rest with --not PHRASE",
    Cure.WRITE_COUNT: "give --count a comparison and a whole number in quotes",
    Cure.COUNT_ONE: "give --count with one phrase",
    Cure.WRITE_AREA: "give --min-area a percentage",
    Cure.USE_CPU: "use --device cpu",
    Cure.GIVE_REGIONS: (
        "evaluate it on given boxes, with --regions-from FILE, or name another with --model"
    ),
    Cure.CHOOSE_FORM: "choose with --form",
    Cure.CHOOSE_SPLIT: "name one as its file or with --split",
    Cure.LEAVE_OUT_IMAGES: "leave out --images",
    Cure.MORE_PARTS: "give --parts a multiple of {processes}",
    Cure.FITTING_BATCH: "give --batch-size a multiple of {parts}",
    Cure.NAME_CHECKPOINT: "name a .safetensors file made by: dcsearch train",
    Cure.BACKBONE_WEIGHTS: "name a safetensors file with --backbone-weights",
    Cure.PLAIN_PADDING: "leave out --tensorflow-padding or name a file with --backbone-weights",
    Cure.OTHER_BACKBONE: "name another with --backbone",
    Cure.SAME_NETWORK: "leave out --context or --joint-inference, or --start",
    Cure.FREEZE_BACKBONE: "give --freeze {blocks} and --views, or leave out --feature-cache",
    Cure.FEWER_PROCESSES: "start no more with --nproc-per-node, or give --device cpu",
    Cure.ADD_VALIDATION: "add val.jsonl, or give --patience 0",
    Cure.START_ANEW: "start it without --resume",
    Cure.RESUME: "go on with --resume or name another folder",
    Cure.MAKE_TABLE: "make it anew with: dcsearch model words",
    Cure.CHOOSE_CATEGORIES: "name some phrases of the data with --categories",
    Cure.FEWER_QUERIES: "ask for at most {photos} with --queries",
    Cure.OTHER_CACHE: "delete it, or name another folder with --cache",
    Cure.DEFAULT_SCORE: "leave out --score {score}",
    Cure.NAME_INDEX: "name a file with --db",
    Cure.SET_HOME: "name a file with --db, or set HOME",
    Cure.INDEX_IN_FOLDER: "name a file, such as --db {file}",
    Cure.OTHER_INDEX: "name another file with --db",
    Cure.MAKE_INDEX: "make one with: dcsearch index PHOTOS",
    Cure.CHECK_INDEX_FILE: ("check the file, its folder and disk, or name another file with --db"),
    Cure.WRITABLE_INDEX: ("make the file and its folder writable, or name another file with --db"),
    Cure.WAIT_FOR_INDEX: "wait for it, or name another file with --db",
    Cure.UPGRADE: ("upgrade with: pip install --upgrade dcsearch, or name another file with --db"),
    Cure.ADD_PHOTOS: "add some with: dcsearch index PHOTOS",
    Cure.ADD_PHOTO: "add it with: dcsearch index PHOTO",
    Cure.USE_INDEX_MODEL: (
        "add --model {model} (or, for all commands: dcsearch model use {model}), name another "
        "index with --db, or describe the photos anew with: dcsearch index --force PHOTOS"
    ),
    Cure.NAME_INDEX_MODEL: (
        "name that model with --model or another index with --db, or describe the photos anew "
        "with: dcsearch index --force PHOTOS"
    ),
    Cure.LIST_QUERIES: "list it with: dcsearch history",
    Cure.GIVE_WORDS: "say what to look for, as in: dcsearch text red bus",
    Cure.LIST_MODELS: "see: dcsearch model list",
    Cure.CHOOSE_MODEL: "choose another, such as: dcsearch model use default",
    Cure.NAME_MODEL: "choose another name with --name",
    Cure.FREE_NAME: (
        "choose another name with --name, or remove that one with: dcsearch model remove {model}"
    ),
    Cure.VERIFY_MODEL: "see: dcsearch model verify {file}",
    Cure.KEEP_PRECISION: "leave out --float16 and --float32, which are for the authors' .t7",
    Cure.FETCH_AGAIN: (
        "run the same command again, which goes on from there, or get the file in another way "
        "and: dcsearch model import FILE --name {model}"
    ),
    Cure.OTHER_ADDRESS: "run the same command again, or name another address with --url",
    Cure.FREE_MEMORY: (
        "close other programs, or use fewer --workers and a smaller --batch-size, and run the same "
        "command again"
    ),
    Cure.OPEN_FEWER_FILES: (
        "allow more with: ulimit -n 4096, or use fewer --workers, and run the same command again"
    ),
    Cure.FREE_SPACE: "free some space and run the same command again",
    Cure.MEND_NETWORK: "check the network and the address, and run the same command again",
    Cure.BRING_BACK: (
        "bring it back, or, if it was deleted, forget them with --prune-missing-folders"
    ),
    Cure.MEND_DRIVE: "see to it and run the same command again",
    Cure.MEND_CACHE: "make the folder writable, or free some space on its disk",
    Cure.INDEX_AGAIN: "mount their disk, or index their folder again with: dcsearch index FOLDER",
    Cure.REPAIR_INDEX: "mend it with: dcsearch doctor --repair",
    Cure.WHOLE_PATH: "change to another folder, or write the whole path",
    Cure.MAKE_PRIVATE: "change that, unless it is meant, with: chmod 600 FILE",
    Cure.SET_CLOCK: "set the clock of this machine",
    Cure.SET_LOCALE: "set one, as in: export LC_ALL=C.UTF-8",
    Cure.INSTALL_EXTRA: "install it with: pip install 'dcsearch[{extra}]'",
    Cure.IMPORT_MODEL: (
        "import it with: dcsearch model import FILE, or describe the photos anew with: dcsearch "
        "index --force PHOTOS"
    ),
    Cure.RAISE_FILE_LIMIT: "close other programs, or raise the limit with: ulimit -n 4096",
    Cure.RAISE_SIZE_LIMIT: "raise the limit with: ulimit -f unlimited",
    Cure.ENTER_FOLDER: "allow it with: chmod a+x FOLDER, or name another file with --db",
    Cure.OPEN_WRITABLE: "run dcsearch status once as that user, which takes them in",
    Cure.RESTORE_INDEX: (
        "see what can be mended with: dcsearch doctor; or put back a copy of it, or move it away "
        "and index the photos again"
    ),
    Cure.ASK_AGAIN: "ask it again with: dcsearch query",
    Cure.CHECK_DISK: "check the disk that it lies on",
    Cure.START_SERVER: "start the server, or check the address that --db names",
    Cure.GIVE_PASSWORD: (
        "set PGPASSWORD, or write the right one into ~/.pgpass, which nobody else may read"
    ),
    Cure.GRANT_RIGHTS: (
        "ask who runs the database for them, as in: GRANT CREATE, USAGE ON SCHEMA public TO USER"
    ),
    Cure.CREATE_DATABASE: "create it with: createdb --encoding UTF8 {name}",
    Cure.COPY_INDEX: "or copy it into a file with: dcsearch copy SOURCE TARGET",
    Cure.NEW_TARGET: "name a new file or an empty database as TARGET",
    Cure.OTHER_DATABASE: "name another database, or another user, with --db",
    Cure.START_CLUSTER: ("start one with: ray start --head, or check the address that --ray names"),
    Cure.SAME_VERSIONS: "install the same dcsearch, Ray and Python on all its machines",
    Cure.SHARE_FOLDER: "share the folder with all its machines, under the same path",
    Cure.WAIT_FOR_CACHE: "wait for the other dcsearch, or end it if it hangs",
}


def sentence(error: DcsearchError) -> str:
    """What happened and, behind a semicolon, what solves it."""
    if error.cure is None:
        return str(error)
    return f"{error}; {WORDS[error.cure].format(**error.values)}"
