"""Phrases to ask: those that people wrote of annotated photos."""

from collections.abc import Iterable

from dcsearch.data.regions import AnnotatedPhoto
from dcsearch.scoring.phrase import known_phrase
from dcsearch.vocabulary import Vocabulary


def known_texts(photos: Iterable[AnnotatedPhoto], vocabulary: Vocabulary) -> list[str]:
    """The different phrases of the photos of which the model knows a word, sorted."""
    texts = {text for photo in photos for region in photo.regions for text in region.phrases}
    return sorted(text for text in texts if known_phrase(text, vocabulary))
