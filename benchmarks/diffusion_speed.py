"""Speed of diffusion models: jaxgen's training loop beside two libraries of PyTorch.

    pip install -e ".[bench]"
    python -m benchmarks.diffusion_speed
    python -m benchmarks.diffusion_speed --windows 15 --seconds 8

Every contestant trains its own U-Net, of as many parameters within 4 %, to predict the noise in the
same images in memory: float32, batches of 32, Adam, the 1,000 betas of DDPM (in jaxgen their
limit), as many cores. After the windows of training come those of drawing 16 images by 50 steps of
DDIM, whose estimates are clipped. Each contestant is a process of its own; they take turns, window
by window, so that whatever else the machine does falls on all alike.
"""

import tyro

from benchmarks import contest
from benchmarks.contestants import Contestant
from benchmarks.peers import diffusion_sizes

CONTEST = contest.Contest(
    titles={"unet_32": "U-Net of 32x32x3 images"},
    contestants={
        contest.JAXGEN: Contestant("jaxgen_diffusion"),
        "lucidrains": Contestant("lucidrains_diffusion", "eager"),
        "lucidrains channels_last": Contestant("lucidrains_diffusion", "channels_last"),
        "lucidrains torch.compile": Contestant("lucidrains_diffusion", "compile"),
        "diffusers": Contestant("diffusers_diffusion", "eager"),
        "diffusers channels_last": Contestant("diffusers_diffusion", "channels_last"),
        "diffusers torch.compile": Contestant("diffusers_diffusion", "compile"),
    },
    batch_sizes={"unet_32": diffusion_sizes.BATCH_SIZE},
    step="step",
    loss="squared error of a number of the noise",
    min_steps=diffusion_sizes.STEPS_PER_CALL,
    num_drawn={"unet_32": diffusion_sizes.NUM_DRAWN},
    is_same_size=False,
)


if __name__ == "__main__":
    contest.run(CONTEST, None, tyro.cli(contest.Settings, description=__doc__))
