"""A small WordNet in the format of Princeton's files, and the training set of a small model."""

from dataclasses import dataclass, field
from pathlib import Path

from dcsearch.data.regions import AnnotatedPhoto, AnnotatedRegion
from dcsearch.vocabulary import UNKNOWN, Vocabulary
from dcsearch.words.nearest_words import NearestWords
from dcsearch.words.seen_words import SeenWords
from dcsearch.words.wordnet import NOUN_FILES, WordNet

LICENCE = "You may use this small WordNet.\n\nTHERE IS NO WARRANTY.\n"
FILES = {kind: number for number, kind in NOUN_FILES.items()}


@dataclass(frozen=True, kw_only=True)
class Meaning:
    """A meaning: its names in WordNet's spelling, its file, and the first names of what it is a
    kind of, or, of one thing with a name, a specimen of."""

    names: str
    kind: str = "artifact"
    above: tuple[str, ...] = ()
    specimen_of: tuple[str, ...] = ()
    gloss: str = "something"
    counts: dict[str, int] = field(default_factory=dict)


def meaning(names: str, kind: str, *above: str, gloss: str = "something", **counts: int) -> Meaning:
    return Meaning(names=names, kind=kind, above=above, gloss=gloss, counts=counts)


# In the order in which a name's meanings are its first, second and third.
MEANINGS = (
    meaning("entity", "Tops"),
    meaning("physical_entity", "Tops", "entity"),
    meaning("abstraction", "Tops", "entity"),
    meaning("whole", "Tops", "physical_entity"),
    meaning("artifact", "Tops", "whole"),
    meaning("living_thing", "Tops", "whole"),
    meaning("animal creature", "Tops", "living_thing"),
    meaning("person", "Tops", "living_thing"),
    meaning("attribute", "Tops", "abstraction"),
    meaning("color", "attribute", "attribute"),
    meaning("red redness", "attribute", "color", red=9),
    meaning("crimson", "attribute", "red"),
    meaning("justice justness", "attribute", "attribute", justice=16),
    meaning("judge justice", "person", "person", judge=4, justice=1),
    meaning("dog domestic_dog", "animal", "animal", dog=42),
    meaning("hound", "animal", "dog"),
    meaning("beagle", "animal", "hound"),
    meaning("poodle", "animal", "dog"),
    meaning("wolf", "animal", "animal"),
    meaning("bear", "animal", "animal"),
    meaning("ice_bear polar_bear", "animal", "bear"),
    meaning("boxer", "person", "person", boxer=1),
    meaning("boxer_dog boxer", "animal", "dog"),
    meaning("instrumentality", "artifact", "artifact"),
    meaning("vehicle", "artifact", "instrumentality"),
    meaning("car auto automobile", "artifact", "vehicle", car=71),
    meaning("truck motortruck", "artifact", "vehicle"),
    meaning("juggernaut articulated_lorry", "artifact", "truck"),
    meaning("fire_engine", "artifact", "truck"),
    meaning("engine", "artifact", "instrumentality"),
    meaning("fire", "artifact", "instrumentality"),
    meaning("cup", "artifact", "instrumentality"),
    meaning("coffee_cup", "artifact", "cup"),
    meaning("glasses spectacles", "artifact", "instrumentality"),
    meaning("footwear", "artifact", "instrumentality"),
    meaning("sandal", "artifact", "footwear"),
    meaning("slipper", "artifact", "footwear"),
    meaning("gadget", "artifact", "instrumentality"),
    meaning("poodle_justice", "attribute", "attribute"),
    meaning("darky", "person", "person", gloss="(ethnic slur) offensive term for a person"),
    Meaning(names="Einstein", kind="person", specimen_of=("person",)),
    Meaning(names="Rex", kind="animal", specimen_of=("dog",)),
)
IRREGULAR = "wolves wolf\n"
OTHER_WORDS = {"verb": ("juggle",), "adj": ("purplish",), "adv": ("quickly",)}


def write_wordnet(folder: Path, meanings: tuple[Meaning, ...] = MEANINGS) -> Path:
    """The files, in a folder that is made; offsets are numbers and no places."""
    folder.mkdir(parents=True, exist_ok=True)
    keys = {one.names.split()[0]: 1000 + number for number, one in enumerate(meanings)}
    head = "".join(f"  {n} {line}  \n" for n, line in enumerate(LICENCE.splitlines(), start=1))
    senses: dict[str, list[int]] = {}
    data, counts = [head], []
    for one in meanings:
        key = keys[one.names.split()[0]]
        names = one.names.split()
        pointers = [("@", keys[name]) for name in one.above]
        pointers += [("@i", keys[name]) for name in one.specimen_of]
        pointers += [
            (symbol, keys[other.names.split()[0]])
            for other in meanings
            for symbol, above in (("~", other.above), ("~i", other.specimen_of))
            if names[0] in above
        ]
        fields = [f"{key:08}", f"{FILES[one.kind]:02}", "n", f"{len(names):02x}"]
        for name in names:
            number = len(senses.setdefault(name.lower(), []))
            senses[name.lower()].append(key)
            fields += [name, f"{number:x}"]
            if count := one.counts.get(name, 0):
                sense = f"{name.lower()}%1:{FILES[one.kind]:02}:{number:02}::"
                counts.append(f"{sense} {number + 1} {count}\n")
        fields.append(f"{len(pointers):03}")
        fields += [text for symbol, to in pointers for text in (symbol, f"{to:08}", "n", "0000")]
        data.append(f"{' '.join(fields)} | {one.gloss}  \n")
    index = [
        f"{name} n {len(found)} 0 {len(found)} 0 {' '.join(f'{key:08}' for key in found)}  \n"
        for name, found in sorted(senses.items())
    ]
    files = {
        "data.noun": "".join(data),
        "index.noun": head + "".join(index),
        "noun.exc": IRREGULAR,
        "cntlist.rev": "".join(sorted(counts)),
    }
    for part, words in OTHER_WORDS.items():
        files[f"index.{part}"] = head + "".join(f"{word} {part[0]} 1 0 1 0 1  \n" for word in words)
        files[f"{part}.exc"] = ""
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


# What the training set says, in how many regions, and of what kind.
SAID = (
    ("a dog", 50, "animals"),
    ("dogs", 20, "animals"),
    ("a beagle", 3, "animals"),
    ("hounds", 3, "animals"),
    ("an animal", 20, "animals"),
    ("animals", 9, "animals"),
    ("a bear", 12, "animals"),
    ("a truck", 40, "vehicles"),
    ("trucks", 2, "vehicles"),
    ("a car", 90, "vehicles"),
    ("a person", 100, "people"),
    ("a boxer", 9, "people"),
    ("a red engine", 30, "other"),
    ("a fire", 30, "other"),
    ("a cup of coffee", 30, "other"),
    ("coffee", 30, "other"),
    ("glasses", 12, "clothing"),
    ("sandals", 12, "clothing"),
    ("slippers", 9, "clothing"),
    ("a gray motorcycle", 30, "vehicles"),
    ("a snowboard in snow", 30, "other"),
    ("a colored board", 30, "other"),
)
TRUSTED = 8


def said(what: tuple[tuple[str, int, str], ...] = SAID) -> list[AnnotatedPhoto]:
    """Photos of one region each."""
    return [
        AnnotatedPhoto(
            path=Path("a.jpg"),
            width=10,
            height=10,
            captions=(),
            regions=(
                AnnotatedRegion(box=(0, 0, 5, 5), phrases=(phrase,), long_phrases=(), kind=kind),
            ),
        )
        for phrase, times, kind in what
        for _ in range(times)
    ]


def small_vocabulary() -> Vocabulary:
    """All words of SAID, the most frequent first."""
    texts = (phrase for photo in said() for region in photo.regions for phrase in region.phrases)
    vocabulary = Vocabulary.count(texts, at_least=1)
    assert vocabulary.words[0] == UNKNOWN
    return vocabulary


def small_nearest(folder: Path) -> NearestWords:
    """Known words of the small model for nouns of the small WordNet, which is written first."""
    wordnet = WordNet.read(write_wordnet(folder))
    return NearestWords(wordnet, small_vocabulary(), SeenWords.count(said()), trusted=TRUSTED)
