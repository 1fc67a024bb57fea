"""The error of an index that another model made."""

from dcsearch.errors import Cure, IndexUnusable


class OtherModel(IndexUnusable):
    """An index has the codes of another model than the one that was to read or extend it.

    Attributes:
        sha256: hash of the model that made the index.
    """

    def __init__(self, problem: str, sha256: str, name: str | None = None) -> None:
        """Take what is wrong, the hash of the index's model, and the name it is kept by, if any."""
        if name is None:
            super().__init__(problem, Cure.NAME_INDEX_MODEL)
        else:
            super().__init__(problem, Cure.USE_INDEX_MODEL, model=name)
        self.sha256 = sha256

    def kept_as(self, name: str | None) -> "OtherModel":
        """The same error, knowing by which name the index's model is kept."""
        return OtherModel(str(self), self.sha256, name)
