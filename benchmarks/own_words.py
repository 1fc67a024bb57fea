"""From how many examples on a word finds its photos better than a more general one does.

python benchmarks/own_words.py val.jsonl --train train.jsonl --wordnet /usr/share/wordnet

Asks for every noun that the model knows and the photos show ("a beagle"), for the nearest word
that the model has seen many times ("a dog"), and for both at once ("a beagle dog"). What is looked
for are the photos whose annotation has the noun, or its plural, whichever of the three is asked.
Photos rank as in a search. The nouns are put together by how many regions of the training set say
them; a difference has the bounds in which 90 of 100 resamplings of the nouns lie.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from measurement import machine, use_threads

from dcsearch.checkpoint.checkpoint import Checkpoint, load_checkpoint
from dcsearch.data.regions import AnnotatedPhoto, read_regions
from dcsearch.describe import Describer, Description
from dcsearch.evaluation.described import describe_annotated
from dcsearch.scoring.phrase import Phrase, read_phrase
from dcsearch.scoring.torch_engine import torch_scorer
from dcsearch.vocabulary import words_of
from dcsearch.words.inflection import plural
from dcsearch.words.nearest_words import NearestWords
from dcsearch.words.seen_words import SeenWords
from dcsearch.words.wordnet import WordNet

BINS = (3, 4, 6, 8, 12, 16, 24, 40, 80, 160)  # the least number of examples of each
MEASURES = ("average precision", "precision@10")
TOP = 10
CANDIDATES = 100  # photos of a phrase
LOOKED_AT = 10  # regions of each
RESAMPLINGS = 2000


@dataclass(frozen=True, kw_only=True)
class Noun:
    """A known noun, the regions of the training set that say it, and what is asked in its place."""

    noun: str
    examples: int
    general: str
    photos: tuple[int, ...]  # that show it

    def phrases(self) -> tuple[str, str, str]:
        """What is asked: the noun, the more general word, and both."""
        return _with_article(self.noun), _with_article(self.general), self._both()

    def _both(self) -> str:
        return _with_article(f"{self.noun} {self.general}")


def nouns_of(
    photos: Sequence[AnnotatedPhoto], nearest: NearestWords, *, least: int, most: int, seed: int
) -> list[Noun]:
    """Known nouns that some photos show and that have a more general word; of each bin at most
    `most`, drawn at random."""
    found = []
    said = [words_said(photo) for photo in photos]
    for noun in sorted(nearest.nouns):
        examples = nearest.seen[noun]
        if " " in noun or noun not in nearest.vocabulary or examples < least:
            continue
        general = nearest.nearest(noun, without={noun, plural(noun)})
        if general is None or general.reason != "kind":
            continue
        forms = {noun, plural(noun)}
        shown = tuple(number for number, words in enumerate(said) if not forms.isdisjoint(words))
        if shown:
            found.append(Noun(noun=noun, examples=examples, general=general.word, photos=shown))
    chosen = []
    draw = np.random.default_rng(seed)
    for bin_ in range(len(BINS)):
        of_bin = [noun for noun in found if _bin(noun.examples) == bin_]
        keep = draw.permutation(len(of_bin))[:most]
        chosen += [of_bin[index] for index in sorted(keep)]
    return chosen


def words_said(photo: AnnotatedPhoto) -> set[str]:
    """All words that anybody said of a photo."""
    texts = [text for region in photo.regions for text in (*region.phrases, *region.long_phrases)]
    return {word for text in (*photo.captions, *texts) for word in words_of(text)}


def rank(
    described: Sequence[Description], checkpoint: Checkpoint, phrases: Sequence[Phrase]
) -> np.ndarray:
    """(P, M): what each photo's best region scores for each phrase.

    Photos are ranked by the embedding first; the CANDIDATES best of a phrase are ranked anew, by
    the model's score of the LOOKED_AT best regions of each.
    """
    counts = np.array([len(seen.boxes) for seen in described])
    codes = np.concatenate([seen.codes for seen in described])
    objectness = np.concatenate([seen.objectness for seen in described])
    scorer = torch_scorer(checkpoint)
    phrase_free = scorer.phrase_free(codes, objectness, counts)  # (R,)
    quick = torch_scorer(checkpoint, "embedding").values(codes, phrases) + phrase_free[:, None]
    starts = np.cumsum(counts) - counts
    scores = np.maximum.reduceat(quick, starts[counts > 0], axis=0)
    photos = np.flatnonzero(counts)  # those that have regions
    result = np.full((len(described), len(phrases)), -np.inf)
    result[photos] = scores - 1e6  # below all candidates
    for column, phrase in enumerate(phrases):
        chosen = photos[np.argsort(-scores[:, column], kind="stable")[:CANDIDATES]]
        regions = [
            start + np.argsort(-quick[start : start + count, column])[:LOOKED_AT]
            for start, count in zip(starts[chosen], counts[chosen], strict=True)
        ]
        rows = np.concatenate(regions)
        exact = scorer.values(codes[rows], [phrase])[:, 0] + phrase_free[rows]
        first = np.cumsum([0, *map(len, regions[:-1])])
        result[chosen, column] = np.maximum.reduceat(exact, first)
    return result


def measures_of(scores: np.ndarray, shown: Sequence[int]) -> tuple[float, float]:
    """Average precision of photos (P,) ranked by scores, and the precision of the ten best."""
    right = np.isin(np.argsort(-scores, kind="stable"), shown)
    ranks = np.flatnonzero(right) + 1
    return float(np.mean(np.arange(1, len(ranks) + 1) / ranks)), float(right[:TOP].mean())


def _bin(examples: int) -> int:
    return sum(examples >= least for least in BINS) - 1


def _with_article(words: str) -> str:
    if words.endswith("s") and not words.endswith("ss"):
        return words
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="annotated photos, JSON lines")
    parser.add_argument("--train", type=Path, nargs="+", required=True, help="what it trained on")
    parser.add_argument("--wordnet", type=Path, default=Path("/usr/share/wordnet"))
    parser.add_argument("--many", type=int, default=40, help="examples that a general word has")
    parser.add_argument("--most", type=int, default=100, help="nouns of each bin")
    parser.add_argument("--model", type=Path, help="weights; default: those that ship")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, help="of the network; default: PyTorch's own choice")
    parser.add_argument("--output", type=Path, help="write everything as JSON to this file")
    options = parser.parse_args()
    use_threads(options.threads)
    checkpoint = load_checkpoint(options.model)
    seen = SeenWords.count(photo for file in options.train for photo in read_regions(file))
    nearest = NearestWords(
        WordNet.read(options.wordnet), checkpoint.vocabulary, seen, trusted=options.many
    )
    photos = read_regions(options.data)
    nouns = nouns_of(photos, nearest, least=BINS[0], most=options.most, seed=options.seed)
    texts = sorted({text for noun in nouns for text in noun.phrases()})
    print(f"{len(nouns)} nouns, {len(texts)} phrases", file=sys.stderr)
    described = list(describe_annotated(photos, Describer(checkpoint), captions=False))
    phrases = [read_phrase(text, checkpoint.vocabulary, suggest=False) for text in texts]
    columns = dict(zip(texts, rank(described, checkpoint, phrases).T, strict=True))
    rows = [
        {
            **asdict(noun),
            **{
                name: dict(zip(MEASURES, measures_of(columns[text], noun.photos), strict=True))
                for name, text in zip(("own", "general", "both"), noun.phrases(), strict=True)
            },
        }
        for noun in nouns
    ]
    report(rows, options.seed)
    if options.output:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        content = {"command": sys.argv, "machine": machine(), "nouns": rows}
        options.output.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def report(rows: Sequence[dict], seed: int) -> None:
    """Print a line for each bin: the means, and own less general and own less both."""
    draw = np.random.default_rng(seed)
    for measure in MEASURES:
        print(f"\n{measure}")
        print("examples  nouns  photos    own  general   both   own - general        own - both")
        for number, least in enumerate(BINS):
            of_bin = [row for row in rows if _bin(row["examples"]) == number]
            if not of_bin:
                continue
            own, general, both = (
                np.array([row[name][measure] for row in of_bin])
                for name in ("own", "general", "both")
            )
            found = sum(len(row["photos"]) for row in of_bin)
            line = f"{least:>6}..  {len(of_bin):>5}  {found:>6}  "
            line += f"{own.mean():.3f}    {general.mean():.3f}  {both.mean():.3f}"
            for other in (general, both):
                difference = own - other
                resampled = draw.choice(difference, (RESAMPLINGS, len(difference))).mean(axis=1)
                low, high = np.quantile(resampled, (0.05, 0.95))
                line += f"  {difference.mean():+.3f} ({low:+.3f} {high:+.3f})"
            print(line)


if __name__ == "__main__":
    main()
