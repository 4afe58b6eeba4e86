"""Trains a generative adversarial network, draws what it generates and measures it.

python -m experiments.gan                                                        # digits, no download
python -m experiments.gan --loss hinge --spectral --penalty none --run-dir runs/sngan
python -m experiments.gan --loss wasserstein --penalty wgan_gp --num-critic-steps 5 --run-dir runs/wgan_gp
"""

import shlex
import sys

import jax
import rich.console

from experiments import training
from experiments.gan.build import all_critic_steps, build, build_game, describe
from experiments.gan.settings import Settings
from experiments.settings import DataInfo, errors_exit, parse
from jaxgen.training.platform import configure


def main() -> None:
    """Trains, measures and draws; the same line goes on where it stopped."""
    settings = parse(Settings, "experiments.gan", __doc__)
    configure(distributed=settings.training.distributed)
    with errors_exit(2, ValueError):
        dataset = settings.data.load()
        info = DataInfo.of(dataset)
        game = build_game(settings, info)
        algorithm = build(settings, game)
        loop = all_critic_steps(settings)
        training.check(dataset, loop)
    with training.open_experiment("gan", settings, info, free_settings=("draw_every",)) as run:
        from experiments.gan import pictures
        from experiments.gan.latent_pictures import make_draw
        from experiments.report import write_report

        print(describe(settings, game))
        generate = make_draw(game)
        film = pictures.film(run, game, info, generate)
        state = training.train(
            algorithm,
            dataset,
            run,
            loop,
            draw=film,
            draw_every=settings.draw_every,
        )
        training.measure(algorithm, state, dataset, run, step=settings.training.steps)
        if jax.process_index() == 0:
            rich.console.Console().print(pictures.draw(run, dataset, info, game, state, generate))
            command = shlex.join(["python", "-m", "experiments.gan", *sys.argv[1:]])
            print(f"report: {write_report(run.path, command=command)}")


if __name__ == "__main__":
    main()
