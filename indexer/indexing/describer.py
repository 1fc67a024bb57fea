"""The describer of a run: a network of this process, or those of a cluster."""

import contextlib
from collections.abc import Callable, Iterator

from dcsearch.pace import USUAL_BATCH
from indexer.indexing.describing import Cluster, Describer
from indexer.indexing.local import LocalDescriber
from indexer.indexing.pace import chosen_pace
from indexer.models.loaded import LoadedModel


@contextlib.contextmanager
def photo_describer(
    model: LoadedModel,
    cluster: Cluster | None,
    *,
    batch_size: int | None,
    workers: int,
    max_megapixels: float,
    hold: Callable[[], None] | None = None,
    on_wait: Callable[[str], None] | None = None,
) -> Iterator[Describer]:
    """What describes photos by a model, for as long as the block runs.

    Args:
        cluster: whose workers describe; None: this process does.
        batch_size: photos that are described together; None: as many as is fastest.
        workers, max_megapixels, hold: see `indexer.indexing.local.LocalDescriber`.
        on_wait: told a sentence where workers of the cluster have to be waited for.

    Raises:
        MissingExtra: a cluster needs Ray, which is not installed.
        ValueError: batch_size or workers below 1.
    """
    usual = USUAL_BATCH if batch_size is None else batch_size
    if cluster is None:
        yield LocalDescriber(
            model.record,
            model.describer,
            batch_size=usual,
            workers=workers,
            max_megapixels=max_megapixels,
            hold=hold,
            pace=lambda photos: chosen_pace(model, photos, batch_size=batch_size),
        )
        return
    from indexer.indexing.cluster import RayDescriber, of_weights

    make = of_weights(
        model.header.path, batch_size=usual, workers=workers, max_megapixels=max_megapixels
    )
    ray = RayDescriber(model.record, make, cluster, batch_size=usual, on_wait=on_wait)
    with ray as describer:
        yield describer
