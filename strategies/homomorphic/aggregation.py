"""Homomorphic aggregation: the sum of encrypted updates, opened with the sum of their keys."""

from __future__ import annotations

from strategies.aggregation import Aggregation, ServerSide
from strategies.homomorphic.config import HomomorphicConfig
from strategies.masked.aggregation import answer_message, forget_message, serve
from strategies.masked.messages import ACTIONS
from strategies.rounds.strategy import RoundStrategy

_NAME = "homomorphic"


def _serve(side: ServerSide) -> RoundStrategy:
    return serve(side, _NAME)


HOMOMORPHIC = Aggregation(
    name=_NAME,
    config=HomomorphicConfig,
    sees_contributions=False,
    actions=ACTIONS,
    serve=_serve,
    answer=answer_message,
    forget=forget_message,
)
