"""What a node's contributions have left out so far, to be added to its next one.

It lies beside the node's models, in the node's file or, simulated, in its context, and never
leaves the node but in a later contribution. It holds a part of the node's updates without a
mask: a secret, like the records.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from app.node.own_models import KeptModel
from app.node.session import NodeSession
from strategies.aggregation import Request
from strategies.codec.codec import Encoded
from strategies.codec.compressed_codec import CompressedCodec
from strategies.codec.stages import SumContext
from workloads.values import Contribution

_NAME = "left-out"
_BEFORE, _AFTER = "before", "after"


def encode_with_left_out(
    session: NodeSession, request: Request, contribution: Contribution, context: SumContext
) -> Encoded:
    """Return a contribution encoded, with what the last ones left out; keep what it leaves out.

    An attempt that is repeated begins with what the first one began with. What a contribution
    says that comes into no sum is lost, as the rest of it is.

    Raises
    ------
    DatabaseError
        If the node's file cannot be used.
    """
    codec = request.codec
    if not isinstance(codec, CompressedCodec) or not codec.error_feedback:
        return codec.encode(contribution, context)
    if not contribution.update.size:
        return codec.encode(contribution, context)
    models, number = session.own_models(), request.query.server_round
    before = _left(models.get(_NAME), number, codec.dimension)
    encoded, after = codec.encode_with(contribution, before, context)
    kept = {_BEFORE: before.astype(np.float32), _AFTER: after.astype(np.float32)}
    models.put({_NAME: KeptModel(round=number, arrays=kept)})
    return encoded


def _left(kept: KeptModel | None, number: int, dimension: int) -> NDArray[np.float64]:
    """Return what is to be added in a round; zeros where nothing of this run fits it."""
    if kept is None or kept.round > number:
        return np.zeros(dimension)
    left = kept.arrays[_BEFORE if kept.round == number else _AFTER]
    return left.astype(np.float64) if left.shape == (dimension,) else np.zeros(dimension)
