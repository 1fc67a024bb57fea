"""The table of substitutions of a vocabulary, made from WordNet and what a training set says."""

from collections.abc import Iterator

from dcsearch.vocabulary import Vocabulary
from dcsearch.words.inflection import plural, singulars
from dcsearch.words.nearest_words import SHOWN, NearestWord, NearestWords
from dcsearch.words.seen_words import SeenWords
from dcsearch.words.spelling import edits, variants
from dcsearch.words.substitution import LONGEST
from dcsearch.words.table import Entry, Mark, table_bytes
from dcsearch.words.wordnet import WordNet

# From how many regions of the training set on that say a word it finds its photos better than a
# more general word does: docs/words.md.
TRUSTED = 4
NEAR = 0.8  # of meanings, from which on one word is as good as the other
CLOSE = ("same", "kind")  # reasons to ask another word than one that was seen a few times
SHORTEST_PART = 3  # letters of a word that is written together with another
MARKS: dict[str, Mark] = {"same": "=", "kind": "<", "specimen": "1", "example": ">", "part": "p"}


def build_table(
    wordnet: WordNet, vocabulary: Vocabulary, seen: SeenWords, *, trusted: int = TRUSTED
) -> bytes:
    """The table of a vocabulary, as a file.

    Args:
        wordnet: the nouns.
        vocabulary: of the model.
        seen: what its training set says.
        trusted: how many regions must say a known word for it to be asked as it is.
    """
    entries = table_entries(NearestWords(wordnet, vocabulary, seen, trusted=trusted))
    about = {
        "source": "WordNet",
        "trusted": trusted,
        "nouns": sum(bool(entry.word) for entry in entries.values()),
        "licence": wordnet.licence,
    }
    return table_bytes(entries, vocabulary, about)


def table_entries(nearest: NearestWords) -> dict[str, Entry]:
    """What a table says, by keys in the spelling of `words_of`."""
    vocabulary = nearest.vocabulary
    entries: dict[str, Entry] = {}
    for noun in nearest.nouns:
        if noun in vocabulary or noun.count(" ") >= LONGEST:
            continue
        if found := _in_place_of(noun, nearest):
            entries[noun] = found
        elif " " not in noun:
            entries[noun] = _nothing_near(noun, nearest)
    for word in vocabulary.words[1:]:
        if not nearest.knows(word) and (entry := _better(word, nearest)):
            entries[word] = entry
    entries.update(_written_apart_or_together(nearest))
    entries.update(_left_alone(nearest, entries))
    for several, ones in nearest.wordnet.irregular.items():
        if " " in several or several in vocabulary:
            continue
        entries.setdefault(several, Entry(mark="+", word=ones[0]))
    for word, entry in list(entries.items()):
        leads_on = entry.word in entries and entries[entry.word].word
        if entry.mark == "+" and not (leads_on or nearest.knows(entry.word)):
            del entries[word]
    for word in nearest.wordnet.other_words:
        if word and " " not in word and word not in vocabulary:
            entries.setdefault(word, Entry(mark="~"))
    return entries


def _in_place_of(noun: str, nearest: NearestWords) -> Entry | None:
    """What is asked in place of a noun that is no known word."""
    found = nearest.nearest(noun)
    known = all(word in nearest.vocabulary for word in noun.split())
    if found is None or found.word == noun or (known and not _misleads(noun, found, nearest)):
        return None
    if _is_name(noun, nearest) and not found.synset.classes:
        return None
    return _entry(found)


def _misleads(noun: str, found: NearestWord, nearest: NearestWords) -> bool:
    """Whether words that the model knows one by one would be misread, for all that is known.

    The training set does not say them together, and what they are called in WordNet has nothing to
    do with the thing: a coffee cup is a cup, but a fire engine would be some fire and an engine.
    Names of animals and plants ("long legs", "love in a mist") are left to their words.
    """
    if nearest.seen[noun] >= nearest.trusted or nearest.seen[plural(noun)] >= nearest.trusted:
        return False
    near = found.reason == "kind" and found.nearness >= NEAR and found.synset.kind == "artifact"
    if found.reason != "same" and not near:
        return False
    meanings = {found.synset.key}
    meanings.update(way[-1].key for way in nearest.wordnet.ancestors(found.synset))
    return not any(
        synset.key in meanings for part in _parts(noun) for _, synset in nearest.meanings(part)
    )


def _parts(noun: str) -> Iterator[str]:
    """What fewer of its neighbouring words say."""
    words = noun.split()
    for start in range(len(words)):
        for end in range(start + 1, len(words) + 1):
            if end - start < len(words):
                yield " ".join(words[start:end])


def _entry(found: NearestWord) -> Entry:
    return Entry(mark=MARKS[found.reason], word=found.word, between=found.path[1:-1])


def _nothing_near(noun: str, nearest: NearestWords) -> Entry:
    """What a table says of a noun that is asked as nothing: that it is a name, that no photo shows
    it, or, of things that photos show as a rule, only that it is a word."""
    if _is_name(noun, nearest):
        return Entry(mark="@")
    usual = max(nearest.meanings(noun), key=lambda meaning: meaning[0])[1]
    thing = usual.kind in SHOWN and usual.kind != "Tops" and nearest.shows(usual)
    return Entry(mark="~" if thing else "-")


def _is_name(noun: str, nearest: NearestWords) -> bool:
    """Whether a noun is for the most part the name of particular specimens, or of people."""
    meanings = [synset for _, synset in nearest.meanings(noun)]
    people = sum(bool(synset.classes) and synset.kind == "person" for synset in meanings)
    kinds = sum(not synset.classes and nearest.shows(synset) for synset in meanings)
    return all(synset.classes for synset in meanings) or people >= max(kinds, 2)


def _better(word: str, nearest: NearestWords) -> Entry | None:
    """What is better asked than a word that the model knows from too few examples, if anything."""
    for other in variants(word):
        if nearest.knows(other):
            return Entry(mark="s", word=other)
    for other in (*nearest.wordnet.irregular.get(word, ()), *singulars(word), plural(word)):
        if nearest.knows(other):
            return Entry(mark="+", word=other)
    if word in nearest.nouns:
        found = nearest.nearest(word, without={word, plural(word)})
        return _entry(found) if found and found.reason in CLOSE else None
    for one in singulars(word):
        found = nearest.nearest(one, without={one, word}) if one in nearest.nouns else None
        if found and found.reason in CLOSE:
            return Entry(mark="+", word=one)
    if word in nearest.wordnet.other_words:
        return None
    meant = [each for each in edits(word) if each != word and nearest.knows(each)]
    if not meant:
        return None
    return Entry(mark="!", word=max(sorted(meant), key=lambda each: nearest.seen[each]))


def _left_alone(nearest: NearestWords, entries: dict[str, Entry]) -> Iterator[tuple[str, Entry]]:
    """Nouns of several words for which nothing is asked, one of whose words would be substituted: a
    booby trap has nothing to do with what boobies are."""
    for noun in nearest.nouns:
        words = noun.split()
        if 1 < len(words) <= LONGEST and noun not in entries and not nearest.knows(noun):
            known = all(word in nearest.vocabulary for word in words)
            if not known and any(entries[word].word for word in words if word in entries):
                yield noun, _nothing_near(noun, nearest)


def _written_apart_or_together(nearest: NearestWords) -> Iterator[tuple[str, Entry]]:
    """Nouns that the model knows as one word or as two, written the other way."""
    vocabulary = nearest.vocabulary
    for word in vocabulary.words[1:]:
        for place in range(SHORTEST_PART, len(word) - SHORTEST_PART + 1):
            apart = f"{word[:place]} {word[place:]}"
            known = word[:place] in vocabulary and word[place:] in vocabulary
            if known and nearest.knows(word) and nearest.seen[apart] < nearest.trusted:
                yield apart, Entry(mark="s", word=word)
    for noun in nearest.nouns:
        together = noun.replace(" ", "")
        if noun.count(" ") == 1 and nearest.knows(noun) and together not in vocabulary:
            yield together, Entry(mark="s", word=noun)
