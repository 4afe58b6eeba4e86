"""Speed of normalizing flows: jaxgen's training loop beside flowjax, distrax and three of PyTorch.

    pip install -e ".[bench]"
    python -m benchmarks.flow_speed                   # the five workloads
    python -m benchmarks.flow_speed --only glow_32 --windows 15 --seconds 5

Every contestant trains flows of as many layers with networks of the same widths on the same data in
memory: float32, Adam, the same batches, as many cores. How a scale is bounded, how numbers are
paired and what else a layer learns is each library's own, so that the numbers of parameters differ
a little. After the windows of training come those of drawing from the trained model. Each
contestant is a process of its own; they take turns, window by window, so that whatever else the
machine does falls on all alike.

jaxgen trains on the devices of JAX, all at once: here on one for each core, as JAX_NUM_CPU_DEVICES
gives them to any of its programs, and in a row of its own on a single one.
"""

import dataclasses

import tyro

from benchmarks import contest
from benchmarks.contestants import Contestant
from benchmarks.peers.flow_sizes import SIZES, Workload

VECTORS = ("real_nvp_2d", "real_nvp_43d", "spline_2d", "spline_43d")
"""Workloads of those that offer no flows of images."""

AFFINE = ("real_nvp_2d", "real_nvp_43d")
"""Those that `torch.compile` takes whole: splines that index by a mask break its graph. It
compiles the training alone. zuko is not compiled: with PyTorch 2.13 and two threads its heap is
corrupted."""

CONTEST = contest.Contest(
    titles={
        "real_nvp_2d": "RealNVP of 2 numbers",
        "real_nvp_43d": "RealNVP of 43 numbers",
        "spline_2d": "spline couplings of 2 numbers",
        "spline_43d": "spline couplings of 43 numbers",
        "glow_32": "Glow of 32x32x3 images",
    },
    contestants={
        contest.JAXGEN: Contestant("jaxgen_flow", "device_per_core"),
        contest.ONE_DEVICE: Contestant("jaxgen_flow", "one_device"),
        "flowjax": Contestant("flowjax_flow", workloads=VECTORS),
        "distrax": Contestant("distrax_flow", workloads=VECTORS),
        "zuko": Contestant("zuko_flow", "eager", VECTORS),
        "zuko 1 thread": Contestant("zuko_flow", "one_thread", VECTORS),
        "nflows": Contestant("nflows_flow", "eager"),
        "nflows 1 thread": Contestant("nflows_flow", "one_thread", VECTORS),
        "nflows torch.compile": Contestant("nflows_flow", "compile", AFFINE),
        "normflows": Contestant("normflows_flow", "eager"),
        "normflows 1 thread": Contestant("normflows_flow", "one_thread", VECTORS),
    },
    batch_sizes={workload: sizes.batch_size for workload, sizes in SIZES.items()},
    step="step",
    loss="nats per example",
    min_steps=5,
    num_drawn={workload: sizes.num_drawn for workload, sizes in SIZES.items()},
    is_same_size=False,
)


@dataclasses.dataclass(frozen=True)
class Settings(contest.Settings):
    """Settings of the benchmark."""

    only: Workload | None = None
    """One workload alone."""


if __name__ == "__main__":
    _settings = tyro.cli(Settings, description=__doc__)
    contest.run(CONTEST, _settings.only, _settings)
