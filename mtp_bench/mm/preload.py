"""Everything heavy that a job imports, once, in the forkserver; no device is touched."""

import contextlib
import importlib
import io

MODULES = (
    "mtp_bench.backbones.timm_pyramid",
    "mtp_bench.datasets.images",
    "mtp_bench.datasets.unlabelled",
    "mtp_bench.mm.assigning",
    "mtp_bench.mm.boxes",
    "mtp_bench.mm.classifier",
    "mtp_bench.mm.detector",
    "mtp_bench.mm.draws",
    "mtp_bench.mm.joint",
    "mtp_bench.mm.mae",
    "mtp_bench.mm.masks",
    "mtp_bench.mm.optim",
    "mtp_bench.mm.predictions",
    "mtp_bench.mm.sampling",
    "mtp_bench.mm.samrs",
    "mtp_bench.mm.schedule",
    "mtp_bench.mm.segmentor",
    "mtp_bench.mm.standalone",
    "mtp_bench.mm.training",
    "mtp_bench.profiling.machine",
    "mtp_bench.recipes.mae",
    "mtp_bench.recipes.mtp",
    "mtp_bench.tasks.change_detection",
    "mtp_bench.tasks.classification",
    "mtp_bench.tasks.detection",
    "mtp_bench.tasks.rotated_detection",
    "mtp_bench.tasks.segmentation",
    "matplotlib.pyplot",  # mmengine's visualizer, which every Runner makes
    "mmcv.ops",  # named in the environment that every Runner looks at
    "torch._dynamo",  # torch's optimizers, at the first step
    "torch.utils.cpp_extension",
)

with contextlib.redirect_stdout(io.StringIO()):  # the libraries print while they are imported
    for name in MODULES:
        importlib.import_module(name)
