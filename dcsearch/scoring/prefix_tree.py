"""PrefixTree: phrases by their common prefixes, so that these are computed once."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from dcsearch.scoring.phrase import Phrase


@dataclass
class PrefixTree:
    """A prefix of some phrases, which are known by their numbers.

    Attributes:
        ends: the phrases that end here.
        passing: those that end here or further down.
        children: by the token that follows.
    """

    ends: list[int] = field(default_factory=list)
    passing: list[int] = field(default_factory=list)
    children: dict[int, "PrefixTree"] = field(default_factory=dict)


def prefix_tree(phrases: Sequence[Phrase]) -> PrefixTree:
    """The root of the tree of all phrases' prefixes, which is the empty prefix."""
    root = PrefixTree()
    for number, phrase in enumerate(phrases):
        node = root
        node.passing.append(number)
        for token in phrase.tokens:
            node = node.children.setdefault(token, PrefixTree())
            node.passing.append(number)
        node.ends.append(number)
    return root
