"""The contract between a task and everything that trains it.

A task says what is learned: it loads one node's records, builds the model, and scores each
record on its own. Loss and metrics are *per example* so that plain and private training share
one loop. torch is imported inside the functions that need it, never at import time: a client
process that only answers a key message must start fast.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from privacy.unit import Unit
from tasks.new_rows import Given, NewRows
from tasks.records import DataError, Examples, LocalData
from tasks.schema import TaskConfig
from tasks.table import Table, table_csv

if TYPE_CHECKING:
    from torch import Tensor, nn


class ModelRefusedError(ValueError):
    """A model that cannot be trained record by record. The message has the mend."""


@dataclass(frozen=True)
class Inspection:
    """What a run would make of a node's records. For the eyes of the node's owner only.

    Attributes
    ----------
    lines : tuple of str
        What was found, to be printed: the misfits with their places and values.
    num_train, num_test : int
        Records to train on, and held out.
    objection : str
        Why the node would contribute nothing, in one line; empty if it would contribute.
    """

    lines: tuple[str, ...] = ()
    num_train: int = 0
    num_test: int = 0
    objection: str = ""


@dataclass(frozen=True)
class DataSource:
    """The place of a node's records: all that a task knows about the node.

    Attributes
    ----------
    partition_id : int
        Which part of a shared data set is this node's, in [0, num_partitions).
    num_partitions : int
        How many parts there are.
    data_path : Path or None
        Where this node's records lie.
    """

    partition_id: int = 0
    num_partitions: int = 1
    data_path: Path | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.partition_id < self.num_partitions:
            raise DataError(
                f"partition-id={self.partition_id} is not in [0, {self.num_partitions}):"
                " num-partitions is the number of nodes, and each has a partition-id of its own"
            )

    def require_data_path(self, what: str) -> Path:
        """Return the data path; raise if it does not exist.

        Raises
        ------
        DataError
            If the node has none, or nothing is there.
        """
        if self.data_path is None:
            raise DataError(
                f"this node has no data-path: give {what} in the node's --node-config, or, in"
                " a simulation, as data-dir or in the simulation-nodes file"
            )
        if not self.data_path.exists():
            raise DataError(f"data-path={self.data_path}: nothing is there; it must be {what}")
        return self.data_path


class Task(ABC):
    """The definition of what is learned. See ``docs/adding-a-task.md``.

    Parameters
    ----------
    config : TaskConfig
        An instance of this task's ``Config``.
    seed : int
        Public seed of the initial model, the simulated partition and the held-out split.
    """

    Config: ClassVar[type[TaskConfig]]
    #: The metric that a person would look at first, a key of ``per_example_metrics``.
    metric: ClassVar[str]
    #: Whether all nodes have one data set, of which each takes its part.
    is_shared: ClassVar[bool] = True
    #: Whether records are rows of a ``table``.
    has_table: ClassVar[bool] = False
    #: Whether ``task.partition`` says how simulated nodes split one data set.
    is_split: ClassVar[bool] = True
    #: Whether the label is a time to an event. See ``tasks.survival``.
    has_times: ClassVar[bool] = False
    #: Whether records are users' ratings, for whom items are recommended: ``tasks.ratings``.
    recommends: ClassVar[bool] = False

    def __init__(self, config: Any, seed: int) -> None:
        self.config = config
        self.seed = seed
        #: Whether records are protected. Then none may cause a refusal: the server chooses the
        #: configuration, and could ask for any record by what does not fit.
        self.is_private = False
        #: Whether a record that misses a value is kept, as a row of the table; a model's inputs
        #: cannot miss one, and there it is left out.
        self.keeps_missing = False
        #: Where the base of adapters, or a backbone, lies on this machine; see
        #: ``AdaptersConfig`` and ``tasks.images.backbone_config``.
        self.base = Path(config.adapters.base).expanduser() if config.adapters.rank else None

    @property
    def table(self) -> Table | None:
        """Return what the records are rows of; None where they have no columns."""
        return None

    @classmethod
    def metric_names(cls, config: TaskConfig) -> tuple[str, ...]:
        """Return the keys of ``per_example_metrics``, known without any record."""
        return (cls.metric,)

    @abstractmethod
    def load(self, source: DataSource) -> LocalData:
        """Load this node's records.

        Must return the same split whenever it is called with the same source and seed. A
        record's side must not depend on the other records: differential privacy compares two
        data sets that differ in one record, and they must differ in one training record.

        Raises
        ------
        DataError
            If the records do not fit, naming file, line, column and value where it can.
        """

    @property
    @abstractmethod
    def input_shape(self) -> tuple[int, ...]:
        """Return the shape of one record's inputs, known without any record."""

    @abstractmethod
    def made_up_targets(self, num_records: int) -> NDArray[Any]:
        """Return targets of the kind that ``load`` gives, of nobody, shape (n, ...)."""

    def made_up_inputs(self, num_records: int) -> NDArray[Any]:
        """Return inputs of the kind that ``load`` gives, of nobody, always the same.

        Here numbers from -1 to 1, float32; a task of tokens gives its own, int64.
        """
        shape = (num_records, *self.input_shape)
        return np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)

    def made_up(self, num_records: int) -> Examples:
        """Return records of nobody, always the same, of the form that ``load`` gives."""
        inputs, table = self.made_up_inputs(num_records), self.table
        columns = None if table is None else table.made_up(num_records)
        largest = None if table is None else table.largest_weight
        weights = None if largest is None else np.linspace(0.0, largest, num_records)
        return Examples(inputs, self.made_up_targets(num_records), columns, weights)

    def inspect(self, source: DataSource) -> Inspection:
        """Return what a run would make of this node's records, and all that does not fit."""
        try:
            data = self.load(source)
        except DataError as error:
            return Inspection(objection=str(error))
        return inspected((), data)

    def new_rows(self, given: Given) -> NewRows:
        """Return rows to predict, read as ``load`` reads records; the label may be lacking.

        Raises
        ------
        DataError
            If they cannot be read at all, or the task's records are no rows of a table.
        """
        raise DataError(
            "the task's records are no rows of a table, so there is no CSV file of them to"
            " predict; in Python app.api.load_model(...).module takes inputs of shape"
            f" (n, {', '.join(map(str, self.input_shape))})"
        )

    @property
    def missing_text(self) -> str | None:
        """Return what stands for a missing value in a file; None where none may be missing."""
        return ""

    def to_csv(self, columns: NDArray[np.float64], label: NDArray[np.float64]) -> str:
        """Return rows of the task's table as the text of a CSV file.

        Parameters
        ----------
        columns : ndarray, float64, shape (n, columns)
            As of ``Examples.columns``.
        label : ndarray, float64, shape (n,)
            The position of the class, or the number in the label's own unit.
        """
        table = self.table
        if table is None:
            raise TypeError("the task has no columns")
        return table_csv(table, columns, label, missing=self.missing_text or "")

    @abstractmethod
    def build_model(self) -> nn.Module:
        """Return the untrained model. Its random values come from torch's global generator."""

    @abstractmethod
    def per_example_loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of each example, shape (n,)."""

    @abstractmethod
    def per_example_metrics(self, outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Return the metrics of each example, shape (n,) each; means are what is reported."""

    def experience(
        self, model: nn.Module, examples: Examples, rng: np.random.Generator
    ) -> Examples:
        """Return what a local round trains on: here the node's records, as they are.

        A task whose records are made by the model, as an environment answers a policy, makes
        them here, anew in every round.
        """
        return examples

    def score(
        self, model: nn.Module, examples: Examples
    ) -> tuple[Tensor, Mapping[str, Tensor], Tensor]:
        """Return each record's loss and metrics, shape (n,) each, and the model's outputs.

        The model is evaluating, and no gradient is kept. It runs where its parameters are; all
        else is on the CPU. A task whose model is not scored by the loss that it is trained by
        does so here.
        """
        import torch

        targets = torch.from_numpy(examples.targets)
        place = next((p.device for p in model.parameters()), torch.device("cpu"))
        outputs = model(torch.from_numpy(examples.inputs).to(place)).cpu()
        losses = self.per_example_loss(outputs, targets)
        return losses, self.per_example_metrics(outputs, targets), outputs

    @property
    def has_images(self) -> bool:
        """Return whether inputs are images of a class: (channels, side, side), from 0 to 1."""
        return False

    @property
    def centre(self) -> str:
        """Return the name of the parameter that the model takes off its inputs; empty for none.

        It is no weight: its gradient is 0, and it begins as zeros. The first round of a
        gradient sum sets it to the noisy mean of the inputs, which are of length 1 at most.
        """
        return ""

    @property
    def before_inputs(self) -> str:
        """Return what a model's inputs are made of, and how, where a file of it lacks that."""
        return ""

    @property
    def class_names(self) -> tuple[str, ...]:
        """Return the names of the classes; empty where they have none, and for a number."""
        table = self.table
        return () if table is None else tuple(table.classes)

    @property
    def scored_classes(self) -> int | None:
        """Return of how many classes the model's outputs are logits, so that they are counted.

        One logit stands for two classes; a margin is taken for a logit. 0 if the one output is
        a number like the target; None if the outputs are neither, and then there is no area
        under the ROC curve, say.
        """
        return None

    @property
    def gives_margins(self) -> bool:
        """Return whether the model's outputs are margins, which say no probabilities."""
        return False

    def to_label_units(self, outputs: NDArray[np.floating]) -> NDArray[np.float64]:
        """Map the outputs of a model of a number to the units of the label; here they are."""
        return np.asarray(outputs, np.float64)

    def check_private(self, unit: Unit) -> None:  # noqa: B027 - optional hook
        """Raise ``ValueError`` if the records are made in a way that is not private.

        Parameters
        ----------
        unit : Unit
            Whose presence is hidden.

        Preprocessing that looks at a node's records, for a mean say, is outside any guarantee.
        """

    def check_population(self, num_nodes: int) -> None:  # noqa: B027 - optional hook
        """Raise ``ValueError`` if this task cannot be spread over so many nodes."""


def inspected(lines: Iterable[str], data: LocalData) -> Inspection:
    """Return the inspection of records that can be read."""
    return Inspection(
        lines=tuple(lines),
        num_train=len(data.train),
        num_test=len(data.test),
        objection="" if len(data.train) else "no record is left to train on",
    )


#: Metrics that are between 0 and 1 for each example.
SHARE_METRICS = frozenset({"accuracy", "brier_score", "episode_return"})


class Classification(Task):
    """Cross-entropy and accuracy; a binary model has a single logit."""

    metric = "accuracy"
    #: How many classes the label has, at least 2.
    num_classes: int

    def made_up_targets(self, num_records: int) -> NDArray[np.int64]:
        """Return each class in turn."""
        return np.arange(num_records, dtype=np.int64) % self.num_classes

    @property
    def scored_classes(self) -> int:
        """Return the number of classes."""
        return self.num_classes

    def per_example_loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the cross-entropy in nats, shape (n,)."""
        from torch.nn import functional

        if self.num_classes == 2:
            return functional.binary_cross_entropy_with_logits(
                outputs.squeeze(1), targets.to(outputs.dtype), reduction="none"
            )
        return functional.cross_entropy(outputs, targets, reduction="none")

    def per_example_metrics(self, outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Return ``accuracy``: 1 where the most likely class is the label."""
        predicted = outputs.squeeze(1) > 0 if self.num_classes == 2 else outputs.argmax(dim=1)
        return {"accuracy": (predicted == targets).to(outputs.dtype)}


class Regression(Task):
    """Squared error and absolute error of a single output; less is better."""

    metric = "absolute_error"

    def made_up_targets(self, num_records: int) -> NDArray[np.float32]:
        """Return values from -1 to 1."""
        return np.linspace(-1, 1, num_records, dtype=np.float32)

    @property
    def scored_classes(self) -> int:
        """Return 0: the output is a number."""
        return 0

    def per_example_loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the squared error, shape (n,)."""
        return (outputs.squeeze(1) - targets).square()

    def per_example_metrics(self, outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Return ``absolute_error``."""
        return {"absolute_error": (outputs.squeeze(1) - targets).abs()}
