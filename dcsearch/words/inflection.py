"""Inflection: the singular of a noun, and the plural of one.

The rules are those of WordNet's morphy for nouns (morphy(7WN)), and the irregular nouns a list of
those that photos show; a table of substitutions carries WordNet's own list. Words are in the
spelling of `dcsearch.vocabulary.words_of`, and a term of several words is inflected at its last.
"""

# An ending of a plural, and what it stands for.
DETACHED = (
    ("ches", "ch"),
    ("shes", "sh"),
    ("ses", "s"),
    ("xes", "x"),
    ("zes", "z"),
    ("men", "man"),
    ("ies", "y"),
    ("s", ""),
)
SHORTEST = 3  # letters of a word that has a plural
IRREGULAR = {
    "calf": "calves",
    "child": "children",
    "deer": "deer",
    "fish": "fish",
    "foot": "feet",
    "goose": "geese",
    "half": "halves",
    "hoof": "hooves",
    "knife": "knives",
    "leaf": "leaves",
    "loaf": "loaves",
    "mouse": "mice",
    "ox": "oxen",
    "person": "people",
    "potato": "potatoes",
    "scarf": "scarves",
    "sheep": "sheep",
    "shelf": "shelves",
    "tomato": "tomatoes",
    "tooth": "teeth",
    "wife": "wives",
    "wolf": "wolves",
}
SINGULAR_OF = {several: one for one, several in IRREGULAR.items()}
NOT_OF_MAN = ("human", "german", "roman")  # ends as "fireman" does


def singulars(term: str) -> tuple[str, ...]:
    """What a term may be the plural of, most of them no words; empty where no rule fits.

    The longest ending comes first: of "boxes" "box" before "boxe".
    """
    before, space, last = term.rpartition(" ")
    if last in SINGULAR_OF:
        return (before + space + SINGULAR_OF[last],)
    if last.endswith("ss") or len(last) < SHORTEST:
        return ()
    found = [
        before + space + last.removesuffix(ending) + other
        for ending, other in DETACHED
        if last.endswith(ending) and last != ending
    ]
    return tuple(dict.fromkeys(found))


def plural(term: str) -> str:
    """The plural of a term: "dogs", "buses", "ponies", "firemen", "children"."""
    before, space, last = term.rpartition(" ")
    return before + space + _plural(last)


def _plural(word: str) -> str:
    if word in IRREGULAR:
        return IRREGULAR[word]
    if word.endswith(("s", "x", "z", "ch", "sh")):
        return f"{word}es"
    if word.endswith("y") and word[-2:-1] not in ("a", "e", "i", "o", "u", ""):
        return f"{word[:-1]}ies"
    if word.endswith("man") and not word.endswith(NOT_OF_MAN):
        return f"{word[:-3]}men"
    return f"{word}s"
