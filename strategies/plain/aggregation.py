"""Configuration and descriptor of plain aggregation."""

from __future__ import annotations

from dataclasses import dataclass

from flwr.app import Message

from strategies.aggregation import Aggregation, AggregationConfig, ClientSide, ServerSide
from strategies.rounds.strategy import RoundStrategy


@dataclass
class PlainConfig(AggregationConfig):
    """The server sees every update: a baseline, and for debugging.

    Attributes
    ----------
    through_codec : bool
        Add in fixed point, as ``secagg`` does, so that both give the same model bit for bit.
    """

    through_codec: bool = False

    def idle_keys(self, *, is_private: bool) -> dict[str, str]:
        """Return ``codec`` where floats are added, and ``through_codec`` under privacy."""
        if is_private:
            return {"through_codec": "under privacy each node encodes; take it out"}
        if self.through_codec:
            why = "the server encodes, and a client leaves nothing out; take aggregation=secagg"
            return {"codec.error_feedback": why}
        why = "aggregation=plain adds floats; give aggregation.through_codec=true"
        return {"codec": why}


def _serve(side: ServerSide) -> RoundStrategy:
    from strategies.plain.strategy import Plain

    encoded = side.node_encodes or side.config.through_codec
    return Plain(
        side.inner,
        side.min_replies,
        side.coding if encoded else side.in_clear,
        workload=side.workload,
        run_id=side.run_id,
        node_encodes=side.node_encodes,
    )


def _answer(message: Message, side: ClientSide) -> Message:
    from strategies.plain.client import answer

    return answer(message, side)


PLAIN = Aggregation(
    name="plain",
    config=PlainConfig,
    sees_contributions=True,
    serve=_serve,
    answer=_answer,
)
