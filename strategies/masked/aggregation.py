"""Secure aggregation by pairwise masks: the server hears only the sum."""

from __future__ import annotations

from flwr.app import Message

from strategies.aggregation import Aggregation, ClientSide, ServerSide
from strategies.masked.config import SecAggConfig
from strategies.masked.messages import ACTIONS
from strategies.rounds.strategy import RoundStrategy


def serve(side: ServerSide, name: str = "secagg") -> RoundStrategy:
    """Return the strategy of this aggregation, or of one that encrypts what it masks."""
    from strategies.masked.settings import SecAggSettings
    from strategies.masked.strategy import SecAgg
    from strategies.secagg.server.disputes import Disputes

    config: SecAggConfig = side.config
    config.check_place(side.num_simulated)
    if config.identities and not config.peers_file:
        raise ValueError(
            "aggregation.identities=true: the server needs aggregation.peers_file too, to tell"
            " a node's signature from another's"
        )
    peers = side.read_peers(config.peers_file) if config.identities else None
    settings = SecAggSettings(
        run_id=side.run_id,
        parameters=config.parameters(side.num_simulated),
        coding=side.coding,
        config_hash=side.config_hash,
        peers=peers,
        disputes=Disputes(config.max_colluding),
        name=name,
        encryption=config.encryption,
    )
    return SecAgg(side.inner, side.min_replies, side.workload, settings)


def answer_message(message: Message, side: ClientSide) -> Message:
    """Answer one message of the protocol; see ``client.answer``."""
    from strategies.masked.client import answer

    return answer(message, side)


def forget_message(message: Message, side: ClientSide) -> None:
    """Delete the secrets of the attempt that a refused message names."""
    from strategies.masked.client import forget

    forget(message, side)


SECAGG = Aggregation(
    name="secagg",
    config=SecAggConfig,
    sees_contributions=False,
    actions=ACTIONS,
    serve=serve,
    answer=answer_message,
    forget=forget_message,
)
