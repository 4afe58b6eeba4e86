"""Samplers: from noise to data through a grid of noise levels, as pure functions of a denoiser.

``sampler(key, denoise, x_T, grid) -> x`` alike for all, on arrays or pytrees of them; the
deterministic ones have no use for the key. The steps are one loop on the device. Where the number
of steps is a Python integer it can be differentiated in reverse mode too; where the grid is an
argument of a jitted function, every number of steps is served by one program. What a multistep
method remembers is carried by the loop, so no call knows of another.

With ``num_frames`` each returns ``(x, frames [F, B, ...])``, the states at steps that are spread
evenly from the first to the last.
"""

from jaxgen.diffusion.samplers.deterministic import dpm_solver, heun, plms
from jaxgen.diffusion.samplers.steps import frame_steps
from jaxgen.diffusion.samplers.stochastic import ancestral, ancestral_learned, ddim

__all__ = ["ancestral", "ancestral_learned", "ddim", "dpm_solver", "frame_steps", "heun", "plms"]
