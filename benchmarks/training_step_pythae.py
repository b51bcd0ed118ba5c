"""The worker of `training_step.py` that trains with pythae, in an environment of its own.

Its BetaVAE, given the `seed` network as encoder and decoder, and its BaseTrainer. What is timed
is `BaseTrainer.train_step`, pythae's own loop over an epoch's batches, over as many batches as
are asked for: its DataLoader, the steps, its progress bar. Evaluation, the copy of the best
model after each epoch, and all that it writes to disk are left out.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import islice
from typing import Any

import torch
from pythae.data.datasets import BaseDataset
from pythae.models import BetaVAE, BetaVAEConfig
from pythae.models.base.base_utils import ModelOutput
from pythae.models.nn import BaseDecoder, BaseEncoder
from pythae.trainers import BaseTrainer, BaseTrainerConfig
from torch import Tensor
from torch.utils.data import DataLoader

from serving import serve
from training_step_torch import Vae, about, rows_and_network

VERSION = "pythae 0.1.2"  # the package does not tell it at run time


class Encoder(BaseEncoder):
    """The network's first half, in pythae's words."""

    def __init__(self, network: Vae) -> None:
        super().__init__()
        self.hidden = network.encoder
        self.mean = network.mean
        self.log_variance = network.log_variance

    def forward(self, x: Tensor) -> ModelOutput:
        """Return q(z|x)."""
        hidden = self.hidden(x)
        return ModelOutput(embedding=self.mean(hidden), log_covariance=self.log_variance(hidden))


class Decoder(BaseDecoder):
    """The network's second half: pythae's cross entropy takes probabilities, not logits."""

    def __init__(self, network: Vae) -> None:
        super().__init__()
        self.hidden = network.decoder
        self.output = network.output

    def forward(self, z: Tensor) -> ModelOutput:
        """Return the probabilities of x given z."""
        return ModelOutput(reconstruction=torch.sigmoid(self.output(self.hidden(z))))


class Piece:
    """The next so many batches of a loader that begins anew at its end, as a loader itself."""

    def __init__(self, batches: Iterator[Any], n_batches: int, dataset: BaseDataset) -> None:
        self.batches, self.n_batches, self.dataset = batches, n_batches, dataset

    def __len__(self) -> int:
        return self.n_batches

    def __iter__(self) -> Iterator[Any]:
        return islice(self.batches, self.n_batches)


def endless(loader: DataLoader[Any]) -> Iterator[Any]:
    while True:
        yield from loader


class Theirs:
    """The `seed` recipe's training, stopped and continued after any number of steps."""

    def prepare(self, folder: str, shape: dict[str, Any], rule: dict[str, Any]) -> dict[str, Any]:
        """Read the rows and the first weights from `folder`, and build the same network."""
        rows, network = rows_and_network(folder, shape)
        config = BetaVAEConfig(
            input_dim=(rows.shape[1],),
            latent_dim=shape["latent_dim"],
            reconstruction_loss="bce",
            beta=rule["kl_weight"],
        )
        model = BetaVAE(config, encoder=Encoder(network), decoder=Decoder(network))
        self.dataset = BaseDataset(rows, torch.zeros(len(rows)))
        training = BaseTrainerConfig(
            output_dir=folder,
            per_device_train_batch_size=rule["batch_size"],
            learning_rate=rule["learning_rate"],
        )
        self.trainer = BaseTrainer(model, self.dataset, training_config=training)
        self.trainer.prepare_training()
        self.batches = endless(self.trainer.train_loader)
        return about(model, VERSION)

    def train(self, n_steps: int) -> dict[str, float]:
        """Take so many steps; return the seconds, and the mean loss of a batch's rows, in nats."""
        trainer = self.trainer
        trainer.train_loader = Piece(self.batches, n_steps, self.dataset)
        began = time.perf_counter()
        loss = trainer.train_step(epoch=1)
        seconds = time.perf_counter() - began
        trainer.callback_handler.on_epoch_end(training_config=trainer.training_config)
        return {"seconds": seconds, "loss": loss}


if __name__ == "__main__":
    serve(Theirs())
