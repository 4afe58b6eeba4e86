"""Counts the modes that adversarial methods find on mixtures of Gaussians in the plane, several seeds at once.

python -m experiments.mode_collapse                                     # ring of 8 Gaussians, 8 methods, 4 seeds
python -m experiments.mode_collapse --data grid --methods wasserstein_penalty --seeds 10 --steps 20000 --run-dir DIR

Data, batches, latents and counts are those of PacGAN (Lin et al. 2018): ring of radius 1 with std 0.01, grid of spacing
2 with std 0.05, batches of 100, Adam with b1 0.8, 2500 samples. To fit minutes on a CPU the networks are smaller (there
--generator-sizes 400 400 with a maxout critic of 200), the critic is a ReLU MLP, the rate is higher and falls to 0
along a cosine (there 1e-4 throughout), and samples come from the averaged generator.
"""

import contextlib
import dataclasses
import sys

import numpy as np
import optax
import rich.console

from experiments.mode_collapse_runs import (
    MIXTURES,
    Result,
    load_results,
    results_file,
    save_result,
    train,
)
from experiments.mode_collapse_settings import Settings
from experiments.settings import errors_exit, parse
from jaxgen import gan
from jaxgen.gan import objectives, penalties
from jaxgen.training.platform import configure
from jaxgen.training.run_directory import open_run
from jaxgen.types import Algorithm, Array, Key

_OBJECTIVES = {
    "minimax": objectives.minimax,
    "nonsaturating": objectives.nonsaturating,
    "nonsaturating_sgd": objectives.nonsaturating,
    "least_squares": objectives.least_squares,
    "hinge": objectives.hinge,
    "wasserstein_clipping": objectives.wasserstein,
    "wasserstein_penalty": objectives.wasserstein,
    "relativistic_r1_r2": objectives.relativistic,
}


def critic_steps(method: str, settings: Settings) -> int:
    """The number of critic steps before each generator step."""
    return settings.wasserstein_critic_steps if method.startswith("wasserstein") else 1


def _r1_and_r2(key: Key, critic: penalties.Critic, real: Array, fake: Array) -> Array:
    return penalties.zero_centered(critic, real) + penalties.zero_centered(critic, fake)


def _rules(method: str, settings: Settings) -> gan.Rules:
    if method == "wasserstein_clipping":
        return gan.Rules(weight_clip=settings.weight_clip)
    if method == "wasserstein_penalty":
        return gan.Rules(penalties.gradient_penalty, settings.penalty_weight)
    if method == "relativistic_r1_r2":
        return gan.Rules(_r1_and_r2, settings.zero_centered_weight)
    return gan.Rules()


def build(method: str, settings: Settings) -> Algorithm:
    """Builds the algorithm of a row of the table."""
    num_critic_steps = critic_steps(method, settings)

    def optimizer(steps: int) -> optax.GradientTransformation:
        if method == "nonsaturating_sgd":
            return optax.sgd(optax.cosine_decay_schedule(settings.sgd_learning_rate, steps))
        rate = optax.cosine_decay_schedule(settings.learning_rate, steps)
        return optax.adam(rate, b1=settings.beta1)

    game = gan.Game(
        generator=gan.models.MLPGenerator((2,), settings.generator_sizes),
        critic=gan.models.MLPCritic(settings.critic_sizes),
        objective=_OBJECTIVES[method],
        rules=_rules(method, settings),
        latent_dim=settings.latent_dim,
        levels=None,
        ema_decay=settings.ema_decay,
    )
    return gan.alternating_algorithm(
        game,
        optimizer(settings.steps),
        optimizer(settings.steps * num_critic_steps),
        num_critic_steps=num_critic_steps,
    )


def main() -> None:
    """Trains every method that is not done, prints the table and draws the figures."""
    with errors_exit(2, ValueError):
        settings = parse(Settings, "experiments.mode_collapse", __doc__)
    configure()
    mixture = MIXTURES[settings.data]
    config = {"experiment": "mode_collapse", "settings": dataclasses.asdict(settings)}
    free_keys = ("settings.run_dir", "settings.methods")
    with contextlib.ExitStack() as stack:
        with errors_exit(2, ValueError):
            run = stack.enter_context(open_run(settings.run_dir, config, free_keys=free_keys))
        try:
            with errors_exit(2, ValueError):
                for method in settings.methods:
                    if method not in load_results(run):
                        save_result(run, method, *_train(method, settings))
        except KeyboardInterrupt:
            print("\ninterrupted; the same line skips the methods that are done", file=sys.stderr)
            sys.exit(130)
        # Matplotlib is loaded here, since it would delay the first step.
        from experiments import mode_collapse_pictures as pictures

        done = load_results(run)
        results: dict[str, Result] = {method: done[method] for method in settings.methods}
        title = f"{settings.data}, {settings.steps:,} steps, {settings.seeds} seeds"
        table = pictures.make_table(title, results, mixture, settings.num_samples)
        rich.console.Console().print(table)
        pictures.draw(run, mixture, results)
        print(f"results: {results_file(run)}\nfigures: {run.samples}")


def _train(method: str, settings: Settings) -> tuple[Result, np.ndarray]:
    return train(
        build(method, settings),
        MIXTURES[settings.data],
        name=method,
        seeds=range(settings.seed, settings.seed + settings.seeds),
        steps=settings.steps,
        steps_per_call=settings.steps_per_call,
        batch_size=settings.batch_size * critic_steps(method, settings),
        num_samples=settings.num_samples,
    )


if __name__ == "__main__":
    main()
