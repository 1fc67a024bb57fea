"""The folders where a user's own files are kept; a user may have none."""

import os
from pathlib import Path

# Nothing is there and nothing can be made there, so that who writes is told so.
NOWHERE = Path(os.devnull) / "dcsearch"


def data_folder() -> Path | None:
    """Where indexes and models are kept; None for a user without a home."""
    from platformdirs import user_data_path

    try:
        return user_data_path("dcsearch", appauthor=False)
    except RuntimeError:
        return None


def cache_folder() -> Path | None:
    """Where is kept what can be made again; None for a user without a home."""
    from platformdirs import user_cache_path

    try:
        return user_cache_path("dcsearch", appauthor=False)
    except RuntimeError:
        return None
