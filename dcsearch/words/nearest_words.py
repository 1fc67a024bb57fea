"""NearestWords: for a noun of WordNet, the nearest word that a model knows.

A noun may mean several things. Those that a photo can show are candidates, and for each the nearest
known word is sought: another name of it, else what it is a kind of, else what is a kind of it, else
what it is a part of. How near two
meanings are is Lin's measure with the information content of Seco et al. (2004), which is known
from the number of kinds that a meaning has: a dog has 190 kinds and says much, an animal 4,000 and
says little. The meaning that is usual, and whose word is near and often seen, is taken.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Container, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from dcsearch.vocabulary import Vocabulary, words_of
from dcsearch.words.inflection import plural
from dcsearch.words.seen_words import SeenWords
from dcsearch.words.wordnet import Synset, WordNet

Reason = Literal["same", "kind", "specimen", "example", "part"]

# How well photos show meanings of each of the lexicographers' files, beside the others of a noun.
SHOWN = {
    "animal": 1.0,
    "artifact": 1.0,
    "food": 1.0,
    "body": 0.8,
    "object": 0.8,
    "plant": 0.8,
    "Tops": 0.7,
    "phenomenon": 0.7,
    "substance": 0.7,
    "person": 0.5,
    "attribute": 0.4,  # colours alone
}
# These files are for the most part of what no photo shows; a word for the same, or for what a
# meaning is at once a kind of, is all that is taken from them.
SHOWN_AT_TIMES = {
    "location": 0.5,
    "group": 0.4,
    "event": 0.3,
    "act": 0.3,
    "shape": 0.3,
    "communication": 0.3,
}
COLOUR = ("color", "attribute")
# Meanings of which so much is a kind that their kinds have nothing in common in a photo.
TOO_GENERAL = (
    ("abstraction", "Tops"),
    ("physical entity", "Tops"),
    ("psychological feature", "Tops"),
    ("whole", "Tops"),
    ("living thing", "Tops"),
    ("natural object", "Tops"),
    ("artifact", "artifact"),
    ("attribute", "attribute"),
    ("communication", "communication"),
    ("event", "event"),
    ("group", "group"),
    ("location", "location"),
    ("phenomenon", "phenomenon"),
    ("process", "process"),
    ("relation", "relation"),
    ("shape", "shape"),
    ("state", "state"),
    ("substance", "substance"),
    ("activity", "act"),
    ("group action", "act"),
    ("area", "artifact"),
    ("component", "artifact"),
    ("covering", "artifact"),
    ("decoration", "artifact"),
    ("device", "artifact"),
    ("equipment", "artifact"),
    ("facility", "artifact"),
    ("implement", "artifact"),
    ("instrumentality", "artifact"),
    ("structure", "artifact"),
    ("surface", "artifact"),
    ("system", "artifact"),
    ("way", "artifact"),
    ("body part", "body"),
    ("message", "communication"),
    ("signal", "communication"),
    ("social group", "group"),
    ("collection", "group"),
    ("gathering", "group"),
    ("point", "location"),
    ("region", "location"),
    ("unit", "object"),
    ("cereal", "plant"),  # grass, but no lawn
    ("plant part", "plant"),
    ("wood", "plant"),  # of trees, which are more often seen
    ("line", "shape"),
    ("material", "substance"),
)
# Known words that are asked for nothing but themselves: they say of a region what it is to another,
# or nearly nothing, or phrases about photos mean by them now this, now that.
NO_NAMES = frozenset(
    "apparatus area arrangement back background bar base bend block blow body bottom bounce bow "
    "business case center chain circuit class coaster complex control cords corner counter court "
    "cover covering coverings crane defender defenders dish disk edge enclosure end event fan "
    "fellow figure flip form formation frame front gear good goods group home hood image item kind "
    "lead lift line lot mark marker material medium member middle muscle muscles note number "
    "object official open opening owner pad pair part patch pattern piece pile pirate place plate "
    "point pole position post protection protector protectors race range rear return returns ride "
    "row runner scene screen second section series set setting shade show side something spot "
    "stand star state states step stretch string strip structure stuff style supplies supply "
    "support supports swing system tag thing things third top treat treats trunk tube tubes type "
    "view way wear work worker workers".split()
)
# What phrases about photos mean by words that other texts use otherwise more often.
MEANT_AS = {
    "chocolate": ("chocolate", "food"),
    "coffee": ("coffee", "food"),
    "field": ("field", "location"),
    "instrument": ("musical instrument", "artifact"),
    "mouse": ("mouse", "artifact"),
    "pants": ("trouser", "artifact"),
    "queen": ("female monarch", "person"),
    "turtle": ("turtle", "animal"),
    "plant": ("plant", "plant"),
    "straw": ("straw", "plant"),
    "wine": ("wine", "food"),
    "woods": ("forest", "group"),
}
# What phrases of each kind of region can mean: Flickr30k Entities' kinds, by WordNet's files.
# Kinds that are not here (COCO's "object") tell nothing.
THINGS = frozenset("artifact attribute food object phenomenon plant shape substance Tops".split())
MEANT = {
    "people": frozenset({"person", "group"}),
    "animals": frozenset({"animal"}),
    "clothing": frozenset({"artifact"}),
    "bodyparts": frozenset({"body", "animal"}),
    "vehicles": frozenset({"artifact"}),
    "instruments": frozenset({"artifact"}),
    "scene": (THINGS | {"location"}) - {"food"},
    "other": THINGS,
}
FITTING = 0.15  # of the regions that tell, those that a meaning fits, at least
TELLING = 3  # regions that say a noun, from which on they tell what it means
USUAL = 0.45  # of the most usual meaning's weight, at least
MEANT_AT_LEAST = 0.4  # of the weight of what a known word is most likely said for
NAMED = 0.2  # of the regions that say a noun, those that are named by it, at least
NAMED_AS_A_RULE = 0.5  # below this a word for a colour is said for the colour alone
DEEPEST = 2  # steps down to a kind
EXAMPLES = 2  # known words for kinds of a noun that are examples of it; one alone is none
PART = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class NearestWord:
    """A known word in place of a noun.

    Attributes:
        word: the known word, or words, in the spelling of `words_of`.
        reason: "same": they mean the same; "kind": the noun is a kind of it; "specimen": it names
            one of them; "example": it is a kind of the noun, as others are; "part": the noun is a
            part of it.
        path: the noun, the meanings between, and the known word's meaning, as WordNet names them.
        synset: what the noun was taken to mean.
        nearness: of the two meanings, 0 to 1; PART of a part and its whole.
    """

    word: str
    reason: Reason
    path: tuple[str, ...]
    synset: Synset
    nearness: float


class NearestWords:
    """Finds known words for nouns.

    Attributes:
        trusted: how many regions of the training set must say a word for it to be known.
    """

    def __init__(
        self, wordnet: WordNet, vocabulary: Vocabulary, seen: SeenWords, *, trusted: int
    ) -> None:
        """Take the model's words, and what its training set says."""
        self.wordnet, self.vocabulary, self.seen, self.trusted = wordnet, vocabulary, seen, trusted
        self._general = {
            synset.key for meaning in TOO_GENERAL if (synset := wordnet.first(*meaning))
        }
        colour = wordnet.first(*COLOUR)
        self._colour = colour.key if colour else None
        self.nouns: dict[str, list[str]] = defaultdict(list)  # by spelling of words_of
        for lemma in wordnet.lemmas():
            for form in spellings(lemma):
                self.nouns[form].append(lemma)
        self._meant = {
            word: synset
            for word, meaning in MEANT_AS.items()
            if (synset := wordnet.first(*meaning))
        }
        self._known: dict[int, list[tuple[float, str]]] = defaultdict(list)  # words of meanings
        for noun in self.nouns:
            if self.knows(noun) or self.knows(plural(noun)):
                self._place(noun)
        for words in self._known.values():
            words.sort(key=lambda word: (-word[0], word[1]))
        self.content = lru_cache(maxsize=None)(self._content)

    def knows(self, term: str) -> bool:
        """Whether the model has seen a word, or words together, often enough to be asked so."""
        return self.seen[term] >= self.trusted and all(
            word in self.vocabulary for word in term.split()
        )

    def nearest(self, noun: str, *, without: Container[str] = ()) -> NearestWord | None:
        """The nearest known word for a noun in the spelling of `words_of`; None where none is near.

        Args:
            noun: of WordNet.
            without: known words that do not count.
        """
        meanings = self._said_for(noun) if self._is_told(noun) else self.meanings(noun)
        usual = max((weight for weight, _ in meanings), default=0.0)
        best, best_weight = None, 0.0
        for weight, synset in meanings:
            if weight < USUAL * usual or not self.shows(synset):
                continue
            for seen, found in self._near(noun, synset, without):
                worth = weight * shown(synset) * _worth((seen, found))
                if worth > best_weight:
                    best, best_weight = found, worth
                break
        return best

    def shows(self, synset: Synset) -> bool:
        """Whether a photo can show a meaning by itself, as what it is and not by its name."""
        if synset.insulting or synset.kind not in SHOWN | SHOWN_AT_TIMES:
            return False
        if synset.classes:
            return synset.kind in ("artifact", "object", "animal")
        if synset.kind == "attribute":
            return any(way[-1].key == self._colour for way in self.wordnet.ancestors(synset))
        return True

    def meanings(self, noun: str) -> list[tuple[float, Synset]]:
        """What a noun may mean, each with a weight: how usual it is, as far as is known."""
        found = []
        for lemma in self.nouns.get(noun, ()):
            for rank, sense in enumerate(self.wordnet.senses(lemma)):
                weight = math.sqrt(sense.count + 1) * 0.9**rank
                if not sense.count and sense.synset.name.lower() != lemma:
                    weight *= 0.5  # it is called otherwise as a rule
                found.append((weight, sense.synset))
        return found

    def _near(
        self, noun: str, synset: Synset, without: Container[str]
    ) -> Iterator[tuple[float, NearestWord]]:
        """Known words for a meaning, and how often they were seen: the nearest of each relation,
        best first."""
        if known := self._best(synset, without):
            yield self._found(noun, (), synset, "same", *known)
        if synset.key in self._general:
            return
        found = [
            self._found(noun, way, synset, "kind", *known)
            for way in self.wordnet.ancestors(synset)
            if (synset.kind in SHOWN or len(way) == 1)
            and self._general.isdisjoint(each.key for each in way)
            and (known := self._best(way[-1], without))
        ]
        if found:
            yield max(found, key=_worth)
        ways: list[tuple[Synset, ...]] = [()]
        for _ in range(DEEPEST):
            ways = [
                (*way, self.wordnet.synsets[key])
                for way in ways
                for key in (way[-1] if way else synset).hyponyms
            ]
            found = [
                self._found(noun, way, synset, "example", *known)
                for way in ways
                if (known := self._best(way[-1], without))
            ]
            if len({word.word for _, word in found}) >= EXAMPLES:
                yield max(found, key=_worth)
                break
        found = [
            self._found(noun, (whole,), synset, "part", *known)
            for whole in map(self.wordnet.synsets.__getitem__, synset.wholes)
            if (known := self._best(whole, without))
        ]
        if found:
            yield max(found, key=_worth)

    def _found(
        self,
        noun: str,
        way: tuple[Synset, ...],
        synset: Synset,
        reason: Reason,
        seen: float,
        word: str,
    ) -> tuple[float, NearestWord]:
        nearness = PART if reason == "part" else 1.0
        if way and reason != "part":
            above, below = (way[-1], synset) if reason == "kind" else (synset, way[-1])
            contents = self.content(above.key), self.content(below.key)
            nearness = 2 * contents[0] / (sum(contents) or 1.0)
        path = [each.name for each in way[:-1]]
        return seen, NearestWord(
            word=word,
            reason="specimen" if reason == "kind" and synset.classes else reason,
            path=(noun, *path, word),
            synset=synset,
            nearness=nearness,
        )

    def _best(self, synset: Synset, without: Container[str]) -> tuple[float, str] | None:
        for seen, word in self._known.get(synset.key, ()):
            if word not in without:
                return seen, word
        return None

    def _is_told(self, noun: str) -> bool:
        """Whether the training set, or a person, says what a noun means in photos."""
        known = all(word in self.vocabulary for word in noun.split())
        return noun in self._meant or (known and self.seen[noun] >= TELLING)

    def _place(self, noun: str) -> None:
        """Note a known noun as a word for what it is said for."""
        several = plural(noun)
        if not NO_NAMES.isdisjoint((noun, several)):
            return
        rare = not self.knows(noun) or 20 * self.seen[noun] < self.seen[several]
        word = several if rare and self.knows(several) else noun
        said_for = self._said_for(noun)
        most = max((weight for weight, _ in said_for), default=0.0)
        total = sum(weight for weight, _ in said_for)
        seen = sum(self.seen[form] for form in self._forms(noun))
        for weight, synset in said_for:
            if weight >= MEANT_AT_LEAST * most:
                self._known[synset.key].append((seen * weight / total, word))

    def _forms(self, noun: str) -> tuple[str, ...]:
        """A noun and its plural, if that is no noun of its own, as "glasses" is one."""
        several = plural(noun)
        return (noun,) if several in self.nouns else (noun, several)

    def _said_for(self, noun: str) -> list[tuple[float, Synset]]:
        """What the training set says a noun for and a photo can show, each with a weight."""
        if noun in self._meant:
            return [(1.0, self._meant[noun])]
        meanings = self.meanings(noun)
        forms = self._forms(noun)
        kinds = sum((self.seen.kinds(form) for form in forms), Counter[str]())
        named = kinds.total() / max(sum(self.seen[form] for form in forms), 1)
        colours = [one for one in meanings if one[1].kind == "attribute" and self.shows(one[1])]
        if named < NAMED_AS_A_RULE and (colours or named < NAMED):
            return colours
        telling = sum(kinds[kind] for kind in MEANT)
        found = []
        for weight, synset in meanings:
            fits = sum(kinds[kind] for kind in MEANT if synset.kind in MEANT[kind])
            share = (fits + 1) / (telling + 2)
            people = synset.kind == "person" and synset.name[0].isupper()  # or a creed
            if share >= FITTING and self.shows(synset) and not synset.classes and not people:
                found.append((weight * share * shown(synset), synset))
        return found

    def _content(self, key: int) -> float:
        """Information content of a meaning, 0 to 1: 1 where it has no kinds."""
        below = len(self._below(key))
        return 1 - math.log(below) / math.log(max(len(self.wordnet.synsets), 2))

    def _below(self, key: int) -> set[int]:
        found, further = {key}, [key]
        while further:
            for each in self.wordnet.synsets[further.pop()].hyponyms:
                if each not in found:
                    found.add(each)
                    further.append(each)
        return found


def spellings(lemma: str) -> tuple[str, ...]:
    """A noun of WordNet in the spelling of `words_of`, with its hyphens closed and open; none where
    nothing is left of it."""
    found = (" ".join(words_of(lemma)), " ".join(words_of(lemma.replace("-", " "))))
    return tuple(dict.fromkeys(filter(None, found)))


def shown(synset: Synset) -> float:
    """How well photos show a meaning, beside the others of a noun."""
    return SHOWN.get(synset.kind) or SHOWN_AT_TIMES.get(synset.kind, 0.2)


def _worth(found: tuple[float, NearestWord]) -> float:
    """How good a known word is: nearness, less where it was seen seldom."""
    seen, word = found
    return word.nearness * _familiar(seen)


def _familiar(seen: float) -> float:
    """How much a word is worth that so many regions say: 0.5 for one, 1 for a thousand."""
    return min(1.0, 0.5 + 0.5 * math.log10(max(seen, 1.0)) / 3)
