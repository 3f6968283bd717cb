"""What the config that a job leaves imports by name, to run with mmengine's Runner alone."""

from mtp_bench.backbones import torchvision_shim
from mtp_bench.mm import loader

torchvision_shim.apply()
loader.install()
