"""Flower's own SecAgg+ on `digits`, as its documentation writes it: legacy workflow and mod.

Task, model, data and local training are those of ``flower_fedavg``, beside which it is copied.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from flwr.app import Context
from flwr.client import Client, NumPyClient
from flwr.client.mod import secaggplus_mod
from flwr.clientapp import ClientApp
from flwr.common import FitIns, Parameters, Scalar, ndarrays_to_parameters
from flwr.server import ClientManager, LegacyContext, ServerConfig
from flwr.server.client_proxy import ClientProxy
from flwr.server.strategy import FedAvg
from flwr.server.workflow import DefaultWorkflow, SecAggPlusWorkflow
from flwr.serverapp import Grid, ServerApp

try:
    from flower_fedavg import build_task, load
except ModuleNotFoundError:  # Not in the app's folder, but in the checkout.
    from benchmarks.flower_fedavg import build_task, load

if TYPE_CHECKING:
    from torch import nn

server = ServerApp()


class _Timed(FedAvg):
    """FedAvg that records the seconds and the number of replies of each round."""

    def __init__(self, initial: Parameters) -> None:
        super().__init__(initial_parameters=initial, min_available_clients=3)
        self.rounds: list[dict[str, float]] = []
        self._started = 0.0

    def configure_fit(
        self, server_round: int, parameters: Parameters, client_manager: ClientManager
    ) -> list[tuple[ClientProxy, FitIns]]:
        """Start the clock of a round."""
        self._started = time.perf_counter()
        return super().configure_fit(server_round, parameters, client_manager)

    def aggregate_evaluate(
        self, server_round: int, results: list[Any], failures: list[Any]
    ) -> tuple[float | None, dict[str, Scalar]]:
        """Stop the clock of a round."""
        seconds = time.perf_counter() - self._started
        self.rounds.append({"seconds": seconds, "num_replies": len(results)})
        return super().aggregate_evaluate(server_round, results, failures)


@server.main()
def _main(grid: Grid, context: Context) -> None:
    from tasks.training.local import get_parameters, initial_model

    arrays = get_parameters(initial_model(build_task()))
    strategy = _Timed(ndarrays_to_parameters(list(arrays.values())))
    rounds = ServerConfig(num_rounds=int(str(context.run_config["num-rounds"])))
    masked = SecAggPlusWorkflow(num_shares=3, reconstruction_threshold=2)
    legacy = LegacyContext(context=context, config=rounds, strategy=strategy)
    DefaultWorkflow(fit_workflow=masked)(grid, legacy)
    text = json.dumps(strategy.rounds)
    Path(str(context.run_config["output-file"])).write_text(text, encoding="utf-8")


class _Client(NumPyClient):
    """Client that trains and scores the model on this node's part."""

    def __init__(self, context: Context) -> None:
        super().__init__()
        self._task, self._data = load(context)

    def fit(
        self, parameters: list[np.ndarray], config: dict[str, Scalar]
    ) -> tuple[list[np.ndarray], int, dict[str, Scalar]]:
        """Train the model; return parameters and counts."""
        from tasks.training.local import get_parameters, train

        model = self._model(parameters)
        result = train(self._task, model, self._data.train, np.random.default_rng(), 0.0)
        return list(get_parameters(model).values()), result.num_examples, {}

    def evaluate(
        self, parameters: list[np.ndarray], config: dict[str, Scalar]
    ) -> tuple[float, int, dict[str, Scalar]]:
        """Score the model on held-out records."""
        from tasks.training.local import evaluate

        sums = evaluate(self._task, self._model(parameters), self._data.test)
        count = int(sums.pop("num_examples"))
        return sums["loss"] / count, count, {k: v / count for k, v in sums.items()}

    def _model(self, parameters: list[np.ndarray]) -> nn.Module:
        from tasks.training.local import get_parameters, initial_model, set_parameters

        model = initial_model(self._task)
        set_parameters(model, dict(zip(get_parameters(model), parameters, strict=True)))
        return model


def _client(context: Context) -> Client:
    return _Client(context).to_client()


client = ClientApp(client_fn=_client, mods=[secaggplus_mod])
