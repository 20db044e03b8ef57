"""Flower's own SecAgg+ in one process: its client mod under its server workflow.

Both are called as they are, stage by stage; only the grid between them is replaced.
"""

import logging
import statistics
from collections.abc import Callable, Iterable

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, RecordDict
from flwr.client.mod import secaggplus_mod
from flwr.common import (
    Code,
    FitIns,
    FitRes,
    Parameters,
    Scalar,
    Status,
    ndarrays_to_parameters,
    parameters_to_ndarrays,
)
from flwr.common.secure_aggregation.secaggplus_constants import (
    RECORD_KEY_CONFIGS,
    Key,
    Stage,
)
from flwr.common.serde import recorddict_to_proto
from flwr.compat.common.recorddict_compat import fitres_to_recorddict
from flwr.server import ClientManager, LegacyContext, SimpleClientManager
from flwr.server.client_proxy import ClientProxy
from flwr.server.compat.grid_client_proxy import GridClientProxy
from flwr.server.strategy import FedAvg
from flwr.server.workflow import SecAggPlusWorkflow
from flwr.server.workflow.constant import MAIN_CONFIGS_RECORD, MAIN_PARAMS_RECORD
from flwr.server.workflow.constant import Key as WorkflowKey
from flwr.server.workflow.secure_aggregation.secaggplus_workflow import WorkflowState

from app.simulation.in_process import Client, InProcessGrid
from benchmarks.secagg_cases import CLIP_RANGE, MODULUS_BITS, Case, Clock, Measured

# Flower's default: steps in the clip range from end to end.
_STEPS = 1 << 22
# All clients have as many examples as may count, so that every weight is 1.
_EXAMPLES = 1000


class _Keep(FedAvg):
    """Strategy that asks every client to train, and keeps the aggregate."""

    def __init__(self, clients: list[ClientProxy]) -> None:
        super().__init__()
        self.clients = clients
        self.aggregate = Parameters([], "")

    def configure_fit(
        self, server_round: int, parameters: Parameters, client_manager: ClientManager
    ) -> list[tuple[ClientProxy, FitIns]]:
        return [(client, FitIns(parameters, {})) for client in self.clients]

    def aggregate_fit(
        self,
        server_round: int,
        results: list[tuple[ClientProxy, FitRes]],
        failures: list[tuple[ClientProxy, FitRes] | BaseException],
    ) -> tuple[None, dict[str, Scalar]]:
        self.aggregate = results[0][1].parameters
        return None, {}


class _Grid(InProcessGrid):
    """Grid that measures the time that the server waits."""

    def __init__(self, clients: dict[int, Client]) -> None:
        super().__init__(clients)
        self.waiting = Clock()

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        asked = list(messages)
        with self.waiting.running():
            return super().send_and_receive(asked, timeout=timeout)


class _Node:
    """A client: Flower's mod around a training that has already happened."""

    def __init__(self, node_id: int, update: np.ndarray, drops: bool) -> None:
        self.clock, self.reply_bytes = Clock(), 0
        self._drops = drops
        self._context = _context(node_id)
        status = Status(Code.OK, "")
        result = FitRes(status, ndarrays_to_parameters([update]), _EXAMPLES, {})
        self._trained = fitres_to_recorddict(result, keep_input=False)

    def answer(self, message: Message) -> Message | None:
        """Answer one message, or return None after the client has dropped out."""
        stage = message.content.config_records[RECORD_KEY_CONFIGS][Key.STAGE]
        if self._drops and stage == Stage.COLLECT_MASKED_VECTORS:
            return None
        # On the wire, every receiver has a copy of its own; the mod changes it.
        own = Message(
            _copy(message.content),
            message.metadata.dst_node_id,
            message.metadata.message_type,
        )
        with self.clock.running():
            reply = secaggplus_mod(own, self._context, self._train)
        if stage == Stage.COLLECT_MASKED_VECTORS:
            self.reply_bytes = recorddict_to_proto(reply.content).ByteSize()
        return reply

    def _train(self, message: Message, context: Context) -> Message:
        return Message(self._trained, reply_to=message)


def run(case: Case) -> Measured:
    """Run one attempt on the complete graph and return its measurements."""
    logging.getLogger("flwr").setLevel(logging.CRITICAL)
    nodes = {
        1000 + i: _Node(1000 + i, case.vector(i), i in case.dropped)
        for i in range(case.clients)
    }
    grid = _Grid({node_id: node.answer for node_id, node in nodes.items()})
    strategy = _Keep([GridClientProxy(node_id, grid, 1) for node_id in nodes])
    context = LegacyContext(
        _context(0), strategy=strategy, client_manager=SimpleClientManager()
    )
    context.state.config_records[MAIN_CONFIGS_RECORD] = ConfigRecord(
        {WorkflowKey.CURRENT_ROUND: 1}
    )
    context.state.array_records[MAIN_PARAMS_RECORD] = ArrayRecord()
    workflow = SecAggPlusWorkflow(
        num_shares=1.0,
        reconstruction_threshold=2 * case.clients // 3,
        max_weight=_EXAMPLES,
        clipping_range=CLIP_RANGE,
        quantization_range=_STEPS,
        modulus_range=1 << MODULUS_BITS,
    )
    whole, state = Clock(), WorkflowState()
    stages: list[Callable[..., bool]] = [
        workflow.setup_stage,
        workflow.share_keys_stage,
        workflow.collect_masked_vectors_stage,
        workflow.unmask_stage,
    ]
    with whole.running():
        for stage in stages:
            if not stage(grid, context, state):
                raise RuntimeError(f"Flower gave up in {stage.__name__}")
    (mean,) = parameters_to_ndarrays(strategy.aggregate)
    survivors = [nodes[1000 + i] for i in case.surviving]
    return Measured(
        client=statistics.median(node.clock.seconds for node in survivors),
        server=whole.seconds - grid.waiting.seconds,
        bytes_per_parameter=survivors[0].reply_bytes / case.parameters,
        error=case.error(mean * len(survivors)),
        # It rounds up or down at random.
        error_bound=len(survivors) * 2 * CLIP_RANGE / _STEPS,
        server_wall=whole.wall - grid.waiting.wall,
    )


def _context(node_id: int) -> Context:
    return Context(run_id=1, node_id=node_id, node_config={}, state=RecordDict(), run_config={})


def _copy(content: RecordDict) -> RecordDict:
    configs = content.config_records[RECORD_KEY_CONFIGS]
    return RecordDict({RECORD_KEY_CONFIGS: ConfigRecord(dict(configs))})
