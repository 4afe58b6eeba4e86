"""pythae's own VAE and trainer, with the PyTorch contestant's networks plugged in."""

import logging
import tempfile
from collections.abc import Callable

import numpy as np
import torch
from pythae.data.datasets import BaseDataset
from pythae.models import VAE, VAEConfig
from pythae.models.base.base_utils import ModelOutput
from pythae.models.nn import BaseDecoder, BaseEncoder
from pythae.trainers import BaseTrainer, BaseTrainerConfig
from pythae.trainers.training_callbacks import CallbackHandler, TrainingCallback
from torch import Tensor, nn

from benchmarks.peers import common, torch_vae, vae_sizes


class Encoder(BaseEncoder):
    """A network that gives mean and log-variance in one head, as pythae wants an encoder."""

    def __init__(self, network: nn.Module) -> None:
        """Keeps the network."""
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> ModelOutput:
        """Pixels to the parameters of the posterior."""
        mean, log_var = self.network(x).chunk(2, dim=1)
        return ModelOutput(embedding=mean, log_covariance=log_var)


class Decoder(BaseDecoder):
    """A network that gives logits, as pythae wants a decoder: it takes probabilities."""

    def __init__(self, network: nn.Module) -> None:
        """Keeps the network."""
        super().__init__()
        self.network = network

    def forward(self, z: Tensor) -> ModelOutput:
        """Latents to probabilities."""
        return ModelOutput(reconstruction=torch.sigmoid(self.network(z)))


def _trainer(workload: vae_sizes.Workload, data: Tensor) -> BaseTrainer:
    encoder, decoder = torch_vae.networks(workload, channels_last=False)
    config = VAEConfig(
        input_dim=(1, common.IMAGE_SIZE, common.IMAGE_SIZE),
        latent_dim=vae_sizes.MLP_LATENT if workload == "mlp" else vae_sizes.CONV_LATENT,
        reconstruction_loss="bce",
    )
    model = VAE(config, encoder=Encoder(encoder), decoder=Decoder(decoder))
    trainer = BaseTrainer(
        model=model,
        train_dataset=BaseDataset(data, torch.zeros(len(data))),
        training_config=BaseTrainerConfig(
            output_dir=tempfile.mkdtemp(),
            per_device_train_batch_size=vae_sizes.BATCH_SIZE,
            learning_rate=vae_sizes.LEARNING_RATE,
            optimizer_cls="Adam",
            optimizer_params={"fused": True},
            seed=common.SEED,
        ),
    )
    trainer.prepare_training()
    # Without pythae's progress bar: its cost is not what is measured.
    trainer.callback_handler = CallbackHandler([TrainingCallback()], model)
    return trainer


def _bare_run(trainer: BaseTrainer, data: Tensor) -> Callable[[int], common.Window]:
    """The loop body of `BaseTrainer.train_step`, without its slow data loader."""
    rows = common.batch_rows(vae_sizes.BATCH_SIZE)

    def train(num_steps: int) -> float:
        trainer.model.train()
        for _ in range(num_steps):
            inputs = {"data": data[torch.from_numpy(next(rows))]}
            output = trainer.model(inputs, epoch=1, dataset_size=len(data), uses_ddp=False)
            trainer._optimizers_step(output)
            loss = output.loss.item()
        return loss

    return common.timed(train)


def _trainer_run(trainer: BaseTrainer) -> Callable[[int], common.Window]:
    """Whole epochs through the trainer; the loss is the mean of the last one."""

    def train(num_steps: int) -> float:
        for _ in range(num_steps // len(trainer.train_loader)):
            loss = trainer.train_step(epoch=1)
        return loss

    return common.timed(train)


def build(
    workload: vae_sizes.Workload, variant: str, images: np.ndarray, threads: int
) -> common.Program:
    """Builds the pythae contestant.

    Args:
        workload: which VAE.
        variant: "step" feeds pythae's training step from memory, "trainer" runs whole epochs
            through pythae's data loader.
        images: uint8 `[N, 28, 28, 1]`.
        threads: cores that PyTorch may use.

    Returns:
        the program.
    """
    logging.disable(logging.INFO)
    torch.set_num_threads(threads)
    torch.manual_seed(common.SEED)
    data = torch_vae.to_tensor(images)
    trainer = _trainer(workload, data)
    num_parameters = sum(p.numel() for p in trainer.model.parameters())
    if variant == "step":
        return common.Program(num_parameters, 1, _bare_run(trainer, data))
    return common.Program(num_parameters, len(trainer.train_loader), _trainer_run(trainer))
