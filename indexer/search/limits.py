"""Limits: how many regions a search proposes, rescores and checks before it answers.

They were chosen on 40 phrases for the share of the exhaustive search's ten best photos that is
found, against time: docs/search.md has the measurements.
"""

# Proposing: FAISS ranks all regions by estimates.
PROPOSED = 1500  # regions proposed for a phrase, at the least: .953 found, median 55 ms
PROPOSED_PER_PHOTO = 40  # the same for every photo of a longer answer
EMBEDDING_PROPOSED = 48  # regions proposed by the embedding, for what no landmark resembles
CANDIDATE_PHOTOS = 400  # of several phrases, photos that are considered, at the least
CANDIDATES_PER_PHOTO = 4  # the same for every photo of a longer answer
CONDITIONS_FACTOR = 2  # more of all of these where few candidates may satisfy the conditions,
COUNT_FACTOR = 4  # and where the best region does not tell how many there are
PROPOSALS = 2  # times that FAISS is asked, each time with better planes, at the least,
MOST_PROPOSALS = 9  # and at the most, while that changes which photos are best: .953 to .970 found

# Rescoring: what the best photos depend on is computed.
RESCORED_PHOTOS = 80  # whose alignments are rescored in a round, at the least
RESCORED_OF = 1_200_000  # regions, up to which these are enough; of x times as many regions
RESCORED_POWER = 2 / 3  # x to this power times as many photos: .9925 found among ten million
ROUNDS = 20  # at the most, until nothing among the best is an estimate
SETTLED_FACTOR = 2  # times as many photos as the answer has are settled: some turn out worse
MARGIN = 2.0  # deviations of the plane that an estimate may be too low; 1 found fewer
EXCLUDED_FACTOR = 2  # times that margin for what must not be there: missing it is worse
APPROXIMATE = 0.3  # that a score over likely words alone is not off: .05 is usual
LIKELY_REGIONS = 16  # of a photo that are rescored in a round to be counted or excluded
FURTHER_REGIONS = 8  # rescored for each further box of a phrase: several are boxes of one object

EXHAUSTIVE_BELOW = 500  # regions that may be in the answer, up to which all are scored

SELECTION_ROUNDS = 6  # searches at the most where photos that come first are gone or copies,
SPARE_PHOTOS = 1000  # and photos beyond the answer that an exhaustive search keeps for that
MOST = 1_000_000_000  # photos of an answer, and boxes of a photo
