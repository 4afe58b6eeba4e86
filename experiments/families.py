"""The one list of all families, by the name that `config.json` has."""

from experiments.autoregressive import EXPERIMENT as AUTOREGRESSIVE
from experiments.diffusion import EXPERIMENT as DIFFUSION
from experiments.experiment import Experiment
from experiments.flow import EXPERIMENT as FLOW
from experiments.gan import EXPERIMENT as GAN
from experiments.gaussian import EXPERIMENT as GAUSSIAN
from experiments.mixture import EXPERIMENT as MIXTURE
from experiments.semi_supervised import EXPERIMENT as SEMI_SUPERVISED
from experiments.texture import EXPERIMENT as TEXTURE
from experiments.vae import EXPERIMENT as VAE

FAMILIES: dict[str, Experiment] = {
    family.name: family
    for family in (
        AUTOREGRESSIVE,
        DIFFUSION,
        FLOW,
        GAN,
        GAUSSIAN,
        MIXTURE,
        SEMI_SUPERVISED,
        TEXTURE,
        VAE,
    )
}
