"""The one list of all families, by the name that `config.json` has."""

from experiments.diffusion import EXPERIMENT as DIFFUSION
from experiments.experiment import Experiment
from experiments.flow import EXPERIMENT as FLOW
from experiments.gan import EXPERIMENT as GAN
from experiments.gaussian import EXPERIMENT as GAUSSIAN
from experiments.mixture import EXPERIMENT as MIXTURE
from experiments.texture import EXPERIMENT as TEXTURE
from experiments.vae import EXPERIMENT as VAE

FAMILIES: dict[str, Experiment] = {
    family.name: family for family in (DIFFUSION, FLOW, GAN, GAUSSIAN, MIXTURE, TEXTURE, VAE)
}
