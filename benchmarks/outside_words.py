"""Common nouns that a model does not know, and what it is asked in their place.

python benchmarks/outside_words.py --wordnet /usr/share/wordnet --sheets photos.db --output results/

Of the nouns whose usual meaning is a thing (something made, an animal, food, a plant, a person, a
part of a landscape or of a body) and which texts were found to use most, `--count` are drawn that
the vocabulary lacks, so many of each kind as people look for. Whether an answer is sensible is for
people to say: a noun on each line, with what is asked; and, with an index, contact sheets of some,
to look at.
"""

import argparse
import json
import random
import sys
from collections import Counter
from pathlib import Path

from cli.main import main as dcsearch
from dcsearch.checkpoint.header import default_checkpoint_path, read_header
from dcsearch.vocabulary import Vocabulary
from dcsearch.words.inflection import plural, singulars
from dcsearch.words.nearest_words import spellings
from dcsearch.words.substitution import Substitutions
from dcsearch.words.wordnet import WordNet

# How many of a hundred nouns are of each kind.
SHARES = {
    "artifact": 40,
    "animal": 20,
    "food": 14,
    "person": 12,
    "plant": 6,
    "object": 4,
    "body": 4,
}
COMMON = 4  # times as many nouns, those of a kind that texts use most, from which some are drawn


def common_nouns(wordnet: WordNet, vocabulary: Vocabulary, kind: str) -> list[str]:
    """Nouns of one word or two whose usual meaning is of a kind and that the vocabulary lacks,
    those that texts use most first, ties by spelling."""
    found: Counter[str] = Counter()
    for lemma in wordnet.lemmas():
        senses = wordnet.senses(lemma)
        usual = max(senses, key=lambda sense: sense.count)
        if usual.synset.kind != kind or usual.synset.classes or not usual.count:
            continue
        noun = spellings(lemma)[-1] if spellings(lemma) else ""
        forms = {noun, plural(noun), *singulars(noun)}
        known = any(all(word in vocabulary for word in form.split()) for form in forms)
        if noun and noun.count(" ") < 2 and not known:
            found[noun] = usual.count
    return [noun for noun, _ in sorted(found.items(), key=lambda one: (-one[1], one[0]))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--wordnet", type=Path, default=Path("/usr/share/wordnet"))
    parser.add_argument("--model", type=Path, help="weights; default: those that ship")
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--sheets", type=Path, help="an index of photos to draw contact sheets of")
    parser.add_argument("--looked-at", type=int, default=40, help="nouns with a contact sheet")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, required=True, help="a folder for what is found")
    options = parser.parse_args()
    header = read_header(options.model)
    vocabulary = Vocabulary(header.words)
    substitutions = Substitutions.beside(options.model or default_checkpoint_path(), vocabulary)
    draw = random.Random(options.seed)
    wordnet = WordNet.read(options.wordnet)
    nouns: list[str] = []
    for kind, share in SHARES.items():
        count = options.count * share // 100
        nouns += draw.sample(common_nouns(wordnet, vocabulary, kind)[: COMMON * count], count)
    rows = []
    for noun in sorted(nouns):
        reworded = substitutions.of(noun)
        asked = reworded.text if reworded.substitutions else None
        made = [each.to_json() for each in reworded.substitutions]
        rows.append({"noun": noun, "asked": asked, "substitutions": made})
        paths = ["/".join(each["path"]) for each in made]
        print(f"{noun:22} {asked or '':22} {' + '.join(paths)}")
    asked_for = [row for row in rows if row["asked"]]
    print(f"{len(asked_for)} of {len(rows)} are asked as something")
    options.output.mkdir(parents=True, exist_ok=True)
    content = {"command": sys.argv, "nouns": rows}
    (options.output / "outside_words.json").write_text(json.dumps(content, indent=1) + "\n")
    if options.sheets:
        for row in sorted(draw.sample(asked_for, options.looked_at), key=lambda one: one["noun"]):
            sheet = options.output / f"{row['noun'].replace(' ', '_')}.png"
            arguments = ["query", row["asked"], "--db", options.sheets, "--sheet", sheet]
            model = ["--model", options.model] if options.model else []
            dcsearch([str(argument) for argument in (*arguments, *model)])


if __name__ == "__main__":
    main()
