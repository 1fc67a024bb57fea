"""Spelling: British and American spellings of a word, and misspelt words.

Words are in the spelling of `dcsearch.vocabulary.words_of`.
"""

import string
from collections.abc import Iterator

from dcsearch.words.inflection import plural, singulars

# British, American: endings and parts of words, either of which may stand for the other.
PARTS = (
    ("our", "or"),
    ("tre", "ter"),
    ("bre", "ber"),
    ("ise", "ize"),
    ("isa", "iza"),
    ("isi", "izi"),
    ("yse", "yze"),
    ("ogue", "og"),
    ("ence", "ense"),
    ("lled", "led"),
    ("lling", "ling"),
    ("ller", "ler"),
    ("aes", "es"),
    ("aed", "ed"),
    ("oeu", "eu"),
)
SHORTEST_WITH_PARTS = 5  # letters; in shorter words they are something else
# Words that are spelt in two ways; the plurals follow.
PAIRS = (
    ("aeroplane", "airplane"),
    ("aluminium", "aluminum"),
    ("artefact", "artifact"),
    ("axe", "ax"),
    ("barbeque", "barbecue"),
    ("catsup", "ketchup"),
    ("chequered", "checkered"),
    ("chilli", "chili"),
    ("cosy", "cozy"),
    ("doughnut", "donut"),
    ("drier", "dryer"),
    ("grey", "gray"),
    ("greyhound", "grayhound"),
    ("gipsy", "gypsy"),
    ("jewellery", "jewelry"),
    ("kerb", "curb"),
    ("liquorice", "licorice"),
    ("mould", "mold"),
    ("moustache", "mustache"),
    ("mum", "mom"),
    ("mummy", "mommy"),
    ("omelette", "omelet"),
    ("plough", "plow"),
    ("pyjama", "pajama"),
    ("racquet", "racket"),
    ("sulphur", "sulfur"),
    ("tyre", "tire"),
    ("waggon", "wagon"),
    ("woollen", "woolen"),
    ("yoghurt", "yogurt"),
)
# What the British call otherwise than the Americans.
AMERICAN = {
    "aubergine": "eggplant",
    "candyfloss": "cotton candy",
    "caravan": "camper",
    "courgette": "zucchini",
    "crisps": "chips",
    "dressing gown": "bathrobe",
    "dustbin": "trash can",
    "hoover": "vacuum cleaner",
    "ladybird": "ladybug",
    "letterbox": "mailbox",
    "lorry": "truck",
    "motorway": "highway",
    "nappy": "diaper",
    "paddling pool": "wading pool",
    "petrol station": "gas station",
    "plait": "braid",
    "postbox": "mailbox",
    "pram": "stroller",
    "pushchair": "stroller",
    "rucksack": "backpack",
    "skipping rope": "jump rope",
    "spanner": "wrench",
    "swimming costume": "swimsuit",
    "telly": "tv",
    "trainers": "sneakers",
    "tram": "streetcar",
    "trousers": "pants",
    "waistcoat": "vest",
    "wellies": "boots",
    "wellingtons": "boots",
    "windscreen": "windshield",
    "zebra crossing": "crosswalk",
}
SHORTEST_MISSPELT = 4  # letters
LONG = 5  # letters, from which on a letter may be missing, one too many, or another
LONGER = 8  # letters, from which on that may be so twice

LONGEST = 50  # letters of a word that somebody may have misspelt

_OTHER = {one: two for one, two in PAIRS} | {two: one for one, two in PAIRS}


def variants(word: str) -> tuple[str, ...]:
    """How others may spell a word, most of them no words: "color" of "colour"."""
    if len(word) > LONGEST:
        return ()
    found = [_OTHER[word]] if word in _OTHER else []
    if word.endswith("s") and word[:-1] in _OTHER:
        found.append(f"{_OTHER[word[:-1]]}s")
    if len(word) >= SHORTEST_WITH_PARTS:
        for parts in PARTS:
            for part, other in (parts, parts[::-1]):
                start = word.find(part, 1)
                while start > 0:
                    found.append(word[:start] + other + word[start + len(part) :])
                    start = word.find(part, start + 1)
    return tuple(each for each in dict.fromkeys(found) if each != word)


def american(term: str) -> tuple[str, ...]:
    """The American term for a British one, of one word or several, if it differs; of a plural
    also in the singular."""
    if term in AMERICAN:
        return (AMERICAN[term],)
    ones = [AMERICAN[one] for one in singulars(term) if one in AMERICAN]
    return tuple(form for one in ones for form in (plural(one), one))


def edits(word: str) -> Iterator[str]:
    """Strings within one edit of a word, most of them no words.

    Two letters changed places; and, in a word of LONG letters or more, one is missing, one too
    many, or another. The first letter is taken as right, unless it changed places with the second.
    """
    if not SHORTEST_MISSPELT <= len(word) <= LONGEST:
        return
    for place in range(len(word) - 1):
        yield word[:place] + word[place + 1] + word[place] + word[place + 2 :]
    if len(word) < LONG:
        return
    for place in range(1, len(word)):
        yield word[:place] + word[place + 1 :]
        for letter in string.ascii_lowercase:
            yield word[:place] + letter + word[place:]
            yield word[:place] + letter + word[place + 1 :]
    for letter in string.ascii_lowercase:
        yield word + letter


def distance(one: str, two: str, *, most: int) -> int:
    """The number of edits between two words: letters missing, too many, wrong, or two that changed
    places (optimal string alignment); most + 1 where it is more than `most`."""
    if abs(len(one) - len(two)) > most:
        return most + 1
    before: list[int] = []
    last = list(range(len(two) + 1))
    for row, letter in enumerate(one, start=1):
        now = [row] + [0] * len(two)
        for column, other in enumerate(two, start=1):
            now[column] = min(
                last[column] + 1, now[column - 1] + 1, last[column - 1] + (letter != other)
            )
            if row > 1 < column and letter == two[column - 2] and one[row - 2] == other:
                now[column] = min(now[column], before[column - 2] + 1)
        if min(now) > most:
            return most + 1
        before, last = last, now
    return min(last[-1], most + 1)
