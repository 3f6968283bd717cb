"""What tasks on prepared data share: how it is made ready, and pieces of their configs."""

from collections.abc import Callable, Mapping

from mtp_bench.datasets import loading
from mtp_bench.datasets.access import Progress
from mtp_bench.datasets.loading import Loaded
from mtp_bench.datasets.samples import DataFacts
from mtp_bench.errors import UserError
from mtp_bench.suite.protocol import Normalisation, Protocol
from mtp_bench.suite.schema import JobSpec, Roots
from mtp_bench.tasks.task import Config, Context, Data


def prepared_data(
    check: Callable[[Loaded, Protocol], None], facts: Callable[[Context, Loaded], DataFacts]
) -> Data:
    """What a task does with data that is cut, decoded and dealt out before any job.

    ``check`` refuses what the task cannot use, beside what no task can.
    """

    def checked(spec: JobSpec, roots: Roots) -> None:
        loaded = loading.load(loading.source_of(spec, roots))
        loading.check_server(loaded)
        check(loaded, spec.settings)

    def prepare(spec: JobSpec, roots: Roots, workers: int, progress: Progress | None) -> None:
        loading.source_of(spec, roots).prepare(workers=workers, progress=progress)
        checked(spec, roots)

    def told(context: Context) -> DataFacts:
        return facts(context, loading.load(loading.source_of(context.spec, context.roots)))

    return Data(prepare, checked, told)


def input_statistics(norm: Normalisation) -> Config:
    """As OpenMMLab's preprocessors take them, of RGB pictures.

    Channels are turned round first, and then have these statistics.
    """
    bgr = norm.channel_order == "bgr"
    turned = slice(None, None, -1 if bgr else 1)
    return {"mean": list(norm.mean)[turned], "std": list(norm.std)[turned], "rgb_to_bgr": bgr}


def augmentation(context: Context, known: Mapping[str, list[Config]], what: str) -> list[Config]:
    """The steps of the protocol's augmentation. ``UserError`` for one that is not for ``what``."""
    name = context.spec.settings.augmentation
    if name not in known:
        raise UserError(
            f"{context.card.name}: augmentation '{name}' is not for {what}: choose one of "
            f"{', '.join(known)}"
        )
    return known[name]
