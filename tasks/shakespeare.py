"""Plays by Shakespeare: the next character, each speaker's lines with one node.

After LEAF (Caldas et al. 2018, arXiv 1812.01097, section 2). A record is a window of the text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tasks.base import DataSource, Task
from tasks.files import keep_until_changed
from tasks.partition import partition
from tasks.records import DataError, Examples, LocalData
from tasks.schema import PartitionConfig, Scheme, TaskConfig, require
from tasks.sequences import NO_TARGET, Reader, encode, next_tokens

if TYPE_CHECKING:
    from torch import Tensor, nn

#: All characters of the plays; others count as unknown.
VOCABULARY = "\n !$&',-.3:;?ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_NUM_TOKENS = 1 + len(VOCABULARY)
_FILE = "input.txt"
# A blank line, and then who speaks.
_BETWEEN_SPEECHES = re.compile(r"\n\n(?=[^\n]+:\n)")
_TEST_SHARE = 0.1


@dataclass
class ShakespeareConfig(TaskConfig):
    """The keys of this task.

    Attributes
    ----------
    model : Reader
        ``gru``, ``lstm``, ``tcn`` or ``transformer``.
    width : int
        Of the model's state, at least 1; a multiple of 8 for ``transformer``.
    num_layers : int
        At least 1.
    embedding : int
        Numbers that stand for a character, at least 1.
    length : int
        Characters in a window, at least 2.
    """

    model: Reader = Reader.gru
    width: int = 192
    num_layers: int = 1
    embedding: int = 64
    length: int = 128

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, least in (("width", 1), ("num_layers", 1), ("embedding", 1), ("length", 2)):
            value = getattr(self, name)
            require(value >= least, f"task.{name}={value}: must be at least {least}")
        require(
            self.model is not Reader.transformer or self.width % 8 == 0,
            f"task.width={self.width}: must be a multiple of 8 with task.model=transformer",
        )
        require(
            self.partition.scheme is not Scheme.dirichlet,
            "task.partition.scheme=dirichlet: windows of text have no classes; take natural,"
            " which deals out speakers, iid or size_skew",
        )

    def idle_keys(self) -> dict[str, str]:
        """Return ``test_fraction``."""
        return {"test_fraction": "the last tenth of the plays is held out; take it out"}


class Shakespeare(Task):
    """Prediction of the next character at each place of a window.

    A record is a window at its place in the text of a node, and no character is in two of them:
    in a private run the one after a window, which is in the next, is nobody's target. So with a
    unit ``example`` it is hidden what a window says, if anything. A speaker has many windows,
    and a longer line would move all those after it: who wants to hide speakers takes a unit
    ``client``, and ``task.partition.scheme=natural``.
    """

    Config = ShakespeareConfig
    config: ShakespeareConfig
    metric = "accuracy"

    def load(self, source: DataSource) -> LocalData:
        """Return this node's windows: of its speakers' lines, and of the last tenth."""
        folder = source.require_data_path(f"a folder with {_FILE}, the plays")
        train, test = _split(folder / _FILE)
        own = self._own_text(train, source)
        held_out = self._windows([test])
        dealt = partition(
            held_out.targets, source.num_partitions, PartitionConfig(min_examples=1), self.seed
        )
        return LocalData(own, held_out.take(dealt[source.partition_id]))

    def _own_text(self, train: tuple[str, ...], source: DataSource) -> Examples:
        if self.config.partition.scheme is Scheme.natural:
            return self._windows([_lines_of_node(train, source)])
        windows = self._windows(["\n\n".join(train)])
        parts = partition(
            windows.targets, source.num_partitions, self.config.partition, self.seed
        )
        return windows.take(parts[source.partition_id])

    def _windows(self, texts: list[str]) -> Examples:
        pairs = [next_tokens(encode(text, VOCABULARY), self.config.length) for text in texts]
        inputs, targets = (np.concatenate(parts) for parts in zip(*pairs, strict=True))
        if self.is_private:
            # It is the first character of the next window, which is another record.
            targets[:, -1] = NO_TARGET
        return Examples(inputs, targets)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Return the length of a window."""
        return (self.config.length,)

    def made_up_inputs(self, num_records: int) -> NDArray[np.int64]:
        """Return the characters in turn."""
        count = num_records * self.config.length
        return (np.arange(count) % _NUM_TOKENS).reshape(num_records, -1)

    def made_up_targets(self, num_records: int) -> NDArray[np.int64]:
        """Return the character after each, where there is one."""
        return np.where((targets := self.made_up_inputs(num_records)) == 0, NO_TARGET, targets)

    def build_model(self) -> nn.Module:
        """Return the model that ``task.model`` names."""
        from tasks.sequence_models import NextToken

        config = self.config
        return NextToken(
            config.model, _NUM_TOKENS, config.embedding, config.width, config.num_layers
        )

    def per_example_loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return each window's mean cross-entropy for a character in nats, shape (n,)."""
        from torch.nn import functional

        losses = functional.cross_entropy(
            outputs.transpose(1, 2), targets, ignore_index=NO_TARGET, reduction="none"
        )
        return losses.sum(dim=1) / _num_targets(targets).to(losses.dtype)

    def per_example_metrics(self, outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Return ``accuracy``: of each window, the share of characters that are foreseen."""
        right = (outputs.argmax(dim=2) == targets).to(outputs.dtype)
        return {"accuracy": right.sum(dim=1) / _num_targets(targets).to(outputs.dtype)}


def _num_targets(targets: Tensor) -> Tensor:
    """Return how many places of each window have a target; 1 where none has."""
    return (targets != NO_TARGET).sum(dim=1).clamp(min=1)


@keep_until_changed(2)
def _split(file: Path) -> tuple[tuple[str, ...], str]:
    """Return the speeches of the first nine tenths of the plays, and the rest as it stands."""
    text = file.read_text(encoding="utf-8", errors="replace").replace("\r\n", "\n")
    cuts = [found.start() for found in _BETWEEN_SPEECHES.finditer(text)]
    if len(cuts) < 2:
        raise DataError(
            f"{file}: no speeches: expected a speaker's name and a colon on a line, what is"
            " said below it, and a blank line before the next"
        )
    due = (1 - _TEST_SHARE) * len(text)
    cut = min(cuts, key=lambda place: abs(place - due))
    return tuple(_BETWEEN_SPEECHES.split(text[:cut])), text[cut:].lstrip("\n")


def _lines_of_node(speeches: tuple[str, ...], source: DataSource) -> str:
    """Return the speeches of this node's speakers: who says most goes to who has least."""
    said: dict[str, list[str]] = {}
    for speech in speeches:
        said.setdefault(speech.partition(":\n")[0], []).append(speech)
    if len(said) < source.num_partitions:
        raise DataError(
            f"task.partition.scheme=natural: {len(said)} speakers for {source.num_partitions}"
            f" clients; start {len(said)} at most"
        )
    sizes = {speaker: sum(map(len, lines)) for speaker, lines in said.items()}
    loads, owners = [0] * source.num_partitions, dict[str, int]()
    for speaker in sorted(sizes, key=lambda one: (-sizes[one], one)):
        owners[speaker] = loads.index(min(loads))
        loads[owners[speaker]] += sizes[speaker]
    whose = (owners[speech.partition(":\n")[0]] for speech in speeches)
    pairs = zip(speeches, whose, strict=True)
    return "\n\n".join(speech for speech, owner in pairs if owner == source.partition_id)
