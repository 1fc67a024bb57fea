"""Schemas: the JSON of the API, for its OpenAPI description.

`indexer.document` writes these objects, the same that `--format json` prints; a test compares what
it writes with what is described here.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

SCHEMA_VERSION = Field(1, description="Of all documents; grows when a field changes its meaning.")
BOX = Field(
    description="x0, y0, x1, y1 in pixels of the upright original.", examples=[[0, 0, 9, 9]]
)


class Schema(BaseModel):
    """An object with these fields and no others."""

    model_config = ConfigDict(extra="forbid")


class ErrorBody(Schema):
    """What went wrong."""

    error: str = Field(description="What happened, and what solves it.")
    status: int = Field(examples=[422])


class QueryBody(Schema):
    """What was asked."""

    phrases: list[str] = Field(examples=[["a dog"]])


class ModelBody(Schema):
    """The network that made the index."""

    name: str = Field(examples=["default"])
    sha256: str


class SearchedBody(Schema):
    """How much was searched."""

    photos: int
    regions: int


class UnknownWordBody(Schema):
    """A word that the model does not know, which was left out."""

    word: str
    nearest: list[str]


class SubstitutionBody(Schema):
    """A word that was asked as another one."""

    asked: str = Field(examples=["lorry"])
    word: str = Field(examples=["truck"])
    reason: str = Field(examples=["same"])
    path: list[str]


class WordBody(Schema):
    """What a word of a phrase adds to a score."""

    word: str
    log_likelihood: float
    log_prior: float
    evidence: float


class ExplanationBody(Schema):
    """The terms of a score."""

    words: list[WordBody]
    similarity: float | None = None
    similarity_score: float | None = None
    objectness_score: float
    hubness: float | None = None
    photo_score: float | None = None
    score: float


class AlignedBody(Schema):
    """A region as the answer to one phrase."""

    phrase: str
    box: list[float] = BOX
    score: float = Field(description="Evidence: 0 is no more than chance.", examples=[3.4])
    log_likelihood: float | None
    log_prior: float | None
    objectness: float
    caption: str = Field(examples=["a black dog"])
    match: float | None = Field(
        None, description="The probability that the region shows the phrase."
    )
    explanation: ExplanationBody | None = None


class ResultBody(Schema):
    """A photo of an answer."""

    rank: int
    id: int | None = Field(None, description="The photo's number in the index.")
    path: str = Field(examples=["/home/me/photos/dog.jpg"])
    uri: str | None = Field(None, description="The exact path, where it is no UTF-8.")
    score: float
    width: int
    height: int
    match: float | None = Field(None, description="The probability that the photo fits.")
    regions: list[AlignedBody]


class AnswerBody(Schema):
    """An answer."""

    schema_version: int = SCHEMA_VERSION
    query: QueryBody
    model: ModelBody
    index: SearchedBody
    elapsed_ms: float
    unknown_words: list[UnknownWordBody]
    substitutions: list[SubstitutionBody]
    notices: list[str] = Field(description="What else a person should know of it.")
    results: list[ResultBody]


class RegionBody(Schema):
    """A region of a photo, as the model describes it."""

    rank: int = Field(description="From 1, by objectness.")
    box: list[float] = BOX
    objectness: float
    caption: str


class PhotoFields(Schema):
    """A photo of the index."""

    id: int | None = None
    path: str
    uri: str | None = None
    width: int | None
    height: int | None
    state: Literal["new", "done", "error", "missing"]
    error: str | None
    taken_at: str | None
    regions: list[RegionBody]


class PhotoBody(Schema):
    """A photo of the index with its regions."""

    schema_version: int = SCHEMA_VERSION
    photo: PhotoFields


class UploadFields(Schema):
    """A picture that is not in the index."""

    name: str = Field(description="`like=u-NAME@BOX` asks for a region of it.")
    title: str
    width: int
    height: int
    regions: list[RegionBody]


class UploadBody(Schema):
    """An uploaded picture with its regions."""

    schema_version: int = SCHEMA_VERSION
    upload: UploadFields


class BestBody(Schema):
    """The first photo of a past query."""

    path: str
    uri: str | None = None
    score: float


class PastQueryBody(Schema):
    """A query of the history."""

    query: int
    asked_at: str
    phrases: list[str]
    results: int
    best: BestBody | None


class HistoryBody(Schema):
    """Past queries, newest first."""

    schema_version: int = SCHEMA_VERSION
    queries: list[PastQueryBody]


class FolderBody(Schema):
    """A path."""

    path: str
    uri: str | None = None


class FailureBody(FolderBody):
    """A photo that could not be used."""

    reason: str


class IndexBody(Schema):
    """What the index holds."""

    location: str
    bytes: int
    photos: int
    done: int
    failed: int
    missing: int
    waiting: int
    regions: int
    queries: int
    indexed_last: str | None
    folders: list[FolderBody]


class IndexModelBody(ModelBody):
    """The network that made the index, and what its checkpoint says of its making."""

    provenance: dict[str, object]


class StatusBody(Schema):
    """The index, its model, and what failed."""

    schema_version: int = SCHEMA_VERSION
    index: IndexBody
    model: IndexModelBody | None
    failures: list[FailureBody]


class RunFields(Schema):
    """A run of indexing."""

    folder: FolderBody
    running: bool
    stage: str
    done: int
    total: int
    failed: int
    outcome: str


class IndexingBody(Schema):
    """The folders that may be indexed, by number from 0, and the run that goes on or was last."""

    schema_version: int = SCHEMA_VERSION
    folders: list[FolderBody]
    run: RunFields | None
