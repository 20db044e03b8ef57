"""The task of a GAN's discriminator: whether an image of a class is a record or made up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from tasks.base import DataSource, Task
from tasks.records import LocalData
from tasks.schema import TaskConfig

if TYPE_CHECKING:
    from torch import Tensor, nn


class Discrimination(Task):
    """Judge the records of another task, whose inputs are images with a class.

    All records are real, and so the loss is that of real ones only. What the discriminator
    learns of made-up images needs no record: see ``tasks.training.adversarial``.

    Parameters
    ----------
    task : Task
        Whose records are judged; one that ``has_images``.
    """

    Config = TaskConfig
    metric = "loss"

    def __init__(self, task: Task) -> None:
        super().__init__(task.config, task.seed)
        self._task, self.is_private = task, task.is_private

    @classmethod
    def metric_names(cls, config: TaskConfig) -> tuple[str, ...]:
        """Return none: a loss that two networks contend for says little."""
        return ()

    @property
    def num_classes(self) -> int:
        """Return the number of classes of the images."""
        found = self._task.scored_classes
        if not found:
            raise TypeError(f"{type(self._task).__name__} has images without classes")
        return found

    def load(self, source: DataSource) -> LocalData:
        """Return the records that are judged."""
        return self._task.load(source)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Return the shape of an image."""
        return self._task.input_shape

    def made_up_targets(self, num_records: int) -> NDArray[Any]:
        """Return each class in turn."""
        return self._task.made_up_targets(num_records)

    def made_up_inputs(self, num_records: int) -> NDArray[Any]:
        """Return images of nobody."""
        return self._task.made_up_inputs(num_records)

    def build_model(self) -> nn.Module:
        """Return the untrained discriminator."""
        from tasks.image_gan import discriminator

        return discriminator(self.input_shape, self.num_classes)

    def per_example_loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of each image as a record of its class, shape (n,)."""
        from tasks.training.adversarial import real_losses

        return real_losses(outputs, targets)

    def per_example_metrics(self, outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Return none."""
        return {}
