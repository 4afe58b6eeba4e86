"""Trains an autoencoder or a variational autoencoder, measures it on the test images and draws what it has learned.

python -m experiments.vae                                                        # digits, no download
python -m experiments.vae --dataset mnist --data-dir DIR --model conv --run-dir runs/mnist
"""

import dataclasses
import shlex
import sys

import jax

from experiments import training
from experiments.settings import DataInfo, errors_exit, parse
from experiments.vae.build import MIXTURE_FILE, build, build_model
from experiments.vae.settings import Settings, is_autoencoder
from jaxgen import vae
from jaxgen.data.dataset import Dataset
from jaxgen.training.platform import configure
from jaxgen.training.run_directory import RunDirectory
from jaxgen.types import PyTree

_FREE_SETTINGS = ("importance_samples", "mixture_components", "autoencoder_steps")


def train_twin(
    settings: Settings, info: DataInfo, dataset: Dataset, run: RunDirectory
) -> tuple[vae.VAE, PyTree] | None:
    """Trains a plain autoencoder of the same shape in a folder of the run; returns it with its variables."""
    if is_autoencoder(settings) or settings.autoencoder_steps < 1:
        return None
    print(f"training an autoencoder of the same shape for {settings.autoencoder_steps} steps")
    short = dataclasses.replace(settings.training, steps=settings.autoencoder_steps)
    twin = dataclasses.replace(
        settings, objective="autoencoder", training=short, num_pseudo_inputs=0
    )
    folder = RunDirectory(run.path / "autoencoder")
    folder.path.mkdir(exist_ok=True)
    state = training.train(build(twin, info), dataset, folder, short)
    return build_model(twin, info), state.eval_variables


def draw(
    settings: Settings,
    info: DataInfo,
    dataset: Dataset,
    run: RunDirectory,
    state: PyTree,
    twin: tuple[vae.VAE, PyTree] | None,
) -> None:
    """Fits the mixture to the codes, draws every picture and writes the report."""
    # Matplotlib is loaded here, since it would delay the first step by a fifth.
    from experiments.report import write_report
    from experiments.vae import pictures

    codec = pictures.make_codec(build_model(settings, info), state.eval_variables, info)
    codes, _ = pictures.encode_split(codec, dataset.train, info)
    num_components = min(settings.mixture_components, len(codes))
    mixture = vae.priors.fit_mixture(codes, num_components=num_components)
    vae.priors.save_mixture(run.path / MIXTURE_FILE, mixture)
    twin_codec = pictures.make_codec(*twin, info) if twin else None
    pictures.draw(run, dataset, info, codec, mixture, twin_codec)
    if not is_autoencoder(settings):
        print(pictures.draw_health(run, dataset, info, codec))
    command = shlex.join(["python", "-m", "experiments.vae", *sys.argv[1:]])
    print(f"report: {write_report(run.path, command=command)}")


def main() -> None:
    """Trains, measures and draws; the same line goes on where it stopped."""
    settings = parse(Settings, "experiments.vae", __doc__)
    configure(distributed=settings.training.distributed)
    with errors_exit(2, ValueError):
        dataset = settings.data.load()
        info = DataInfo.of(dataset)
        algorithm = build(settings, info)
        training.check(dataset, settings.training)
    with training.open_experiment("vae", settings, info, free_settings=_FREE_SETTINGS) as run:
        state = training.train(algorithm, dataset, run, settings.training)
        training.measure(algorithm, state, dataset, run, step=settings.training.steps)
        twin = train_twin(settings, info, dataset, run)
        if jax.process_index() == 0:
            draw(settings, info, dataset, run, state, twin)


if __name__ == "__main__":
    main()
