"""The model and a round's settings in Flower's records."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MessageType, RecordDict
from numpy.typing import NDArray

from strategies.contribution import Parameters

#: Records and keys of the messages. Upper case: the wire names.
ARRAYS = "arrays"
CONFIG = "config"
ROUND = "server-round"

#: Named arrays that a checkpoint holds beside the model.
State = dict[str, NDArray[Any]]


def model_request(server_round: int, arrays: ArrayRecord, config: ConfigRecord) -> RecordDict:
    """Return the content of a message that asks a node to train or score a model.

    Parameters
    ----------
    server_round : int
        The round that is asked for.
    arrays : ArrayRecord
        The global model.
    config : ConfigRecord
        What goes with it beside the round.
    """
    return RecordDict({ARRAYS: arrays, CONFIG: ConfigRecord({**config, ROUND: server_round})})


def model_messages(
    content: RecordDict, nodes: Iterable[int], *, training: bool
) -> list[Message]:
    """Return one message with this content for each node, in the order of the nodes."""
    kind = message_kind(training=training)
    return [Message(content, dst_node_id=node, message_type=kind) for node in nodes]


def message_kind(*, training: bool) -> str:
    """Return Flower's type of the messages that ask to train, or only to score."""
    return MessageType.TRAIN if training else MessageType.EVALUATE


def to_arrays(parameters: Parameters) -> ArrayRecord:
    """Return the parameters as Flower's record."""
    return ArrayRecord({name: Array(values) for name, values in parameters.items()})


def to_parameters(arrays: ArrayRecord) -> Parameters:
    """Return the parameters of Flower's record, by name."""
    return {name: array.numpy() for name, array in arrays.items()}


def hash_parameters(arrays: ArrayRecord) -> bytes:
    """Return SHA-256 over names, types, shapes and values (32 bytes)."""
    digest = hashlib.sha256(b"tacet/model/v1")
    for name, values in to_parameters(arrays).items():
        head = f"{len(name)}:{name}:{values.dtype.str}:{values.shape}".encode()
        digest.update(len(head).to_bytes(4, "big") + head)
        digest.update(np.ascontiguousarray(values).data)
    return digest.digest()


def num_parameters(arrays: ArrayRecord) -> int:
    """Return how many parameters a model has."""
    return sum(array.numpy().size for array in arrays.values())
