"""Trains a classifier on the noisy data of a diffusion run; its gradient then guides samples.

python -m experiments.noisy_classifier runs/diffusion
python -m experiments.sample runs/diffusion --classifier-scale 2 --label 7
"""

import jax

from experiments import course
from experiments.command_line import errors_exit, parse
from experiments.diffusion import guides
from experiments.diffusion.build import build_model
from experiments.evaluate import load_data
from experiments.measurement import EVALUATION_SEED
from experiments.noisy_classifier.settings import Settings
from experiments.ranges import require
from experiments.runs import find_run, restore_run, trained_run
from jaxgen.data import describe, labelled
from jaxgen.training import jax_setup
from jaxgen.training.checkpoint import CheckpointError
from jaxgen.training.evaluation import evaluate, summarize


def main() -> None:
    """Trains, measures on the test examples, and leaves the classifier in the run."""
    settings = parse(Settings, "experiments.noisy_classifier", __doc__)
    with errors_exit(2, ValueError, CheckpointError):
        jax_setup.configure()
        run = find_run(settings.run)
        name = run.experiment.name
        require(name == "diffusion", "run", settings.run, f"a diffusion run, and not one of {name}")
        dataset = load_data(run, settings.dataset, settings.data_dir)
        course.check_labels(dataset)
        trained = trained_run(run, restore_run(run), dataset)
        folder = run.directory.path / guides.FOLDER
        guides.save_settings(folder, settings.channels, settings.learning_rate)
    print(describe(dataset))
    network = guides.make_network(settings.channels, run.info)
    model = build_model(run.settings, run.info)
    algorithm = guides.make_algorithm(model, network, settings.learning_rate)
    state = course.train_beside(trained, algorithm, settings.steps, guides.FOLDER)
    values = evaluate(algorithm, state, labelled(dataset.test), jax.random.key(EVALUATION_SEED))
    for name, summary in summarize(values).items():
        print(f"test {name.replace('_', ' ')}: {summary:.4f}")
    print(f"classifier: {folder}")


if __name__ == "__main__":
    main()
