"""Phrases of regions: one drawn of each, and which regions it may describe as well."""

import random
from collections.abc import Sequence

import torch

from dcsearch.training.phrase_terms import compatible_phrases, draw_phrase
from dcsearch.training.targets import PhraseTarget
from tests.network_fixtures import TARGET, phrase


def plain_compatible(
    spoken: Sequence[PhraseTarget], phrases: Sequence[Sequence[PhraseTarget]]
) -> list[list[bool]]:
    """Whether each word that phrase j is about is said of region i, at [i][j]."""
    return [
        [
            all(any(word in own.content for own in texts) for word in phrase.content)
            for phrase in spoken
        ]
        for texts in phrases
    ]


def test_phrases_fit_the_regions_of_which_all_their_words_are_said() -> None:
    dog, red, cat = phrase(6), phrase(3), phrase(7)
    red_dog = PhraseTarget([1, 3, 6], frozenset({3, 6}))  # "a" means nothing
    found = compatible_phrases([red_dog, dog, cat], [[red_dog], [dog, red], [cat, dog]])
    assert found.dtype == torch.bool
    assert found.tolist() == [[True, True, False], [True, True, False], [False, True, True]]


def test_phrases_fit_regions_as_a_plain_loop_over_words_says() -> None:
    chance = random.Random(0)
    fits = 0
    for _ in range(200):
        words, count = chance.choice([2, 5, 3000]), chance.randint(0, 9)
        few = chance.sample(range(words), min(words, 6))

        def random_phrase(words: Sequence[int] = few) -> PhraseTarget:
            tokens = chance.choices(words, k=chance.randint(1, 4))
            return PhraseTarget(tokens, frozenset(t for t in tokens if chance.random() < 0.8))

        phrases = [[random_phrase() for _ in range(chance.randint(0, 3))] for _ in range(count)]
        spoken = [chance.choice(own) if own else random_phrase() for own in phrases]
        expected = plain_compatible(spoken, phrases)
        found = compatible_phrases(spoken, phrases)
        assert found.shape == (count, count)
        assert found.dtype == torch.bool
        assert found.tolist() == expected
        fits += sum(map(sum, expected))
    assert fits > 1000


def test_a_phrase_of_no_meaning_fits_every_region() -> None:
    nothing = PhraseTarget([1], frozenset())
    assert compatible_phrases([nothing, phrase(6)], [[nothing], []]).tolist() == [
        [True, False],
        [True, False],
    ]


def test_no_phrases_fit_no_regions() -> None:
    assert compatible_phrases([], []).shape == (0, 0)


def test_each_of_a_regions_phrases_has_its_turn() -> None:
    torch.manual_seed(0)
    choices = TARGET.phrases[0]
    assert {tuple(draw_phrase(choices).tokens) for _ in range(40)} == {(1, 3, 6), (2, 6)}
