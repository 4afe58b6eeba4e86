"""Trains a generative adversarial network, draws what it generates and measures it.

python -m experiments.gan                                                        # digits, no download
python -m experiments.gan --loss hinge --spectral --penalty none --run-dir runs/sngan
python -m experiments.gan --loss wasserstein --penalty wgan_gp --penalty-weight 10 --num-critic-steps 5 --batch-size 320
"""

import shlex
import sys

import jax
import rich.console

from experiments import training
from experiments.gan.build import build, build_game
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
        training.check(dataset, settings.training)
    with training.open_experiment("gan", settings, info, free_settings=("draw_every",)) as run:
        from experiments.gan import pictures
        from experiments.report import write_report

        film = pictures.film(run, game, info)
        state = training.train(
            algorithm,
            dataset,
            run,
            settings.training,
            draw=film,
            draw_every=settings.draw_every,
        )
        training.measure(algorithm, state, dataset, run, step=settings.training.steps)
        if jax.process_index() == 0:
            rich.console.Console().print(pictures.draw(run, dataset, info, game, state))
            command = shlex.join(["python", "-m", "experiments.gan", *sys.argv[1:]])
            print(f"report: {write_report(run.path, command=command)}")


if __name__ == "__main__":
    main()
