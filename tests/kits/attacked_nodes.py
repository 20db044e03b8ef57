"""Real ClientApps under secure aggregation, and a server that may break the protocol."""

from flwr.app import ArrayRecord, ConfigRecord, Context, Message, RecordDict

from app.builders.run import RunFacts, build_strategy
from app.builders.workload import build_workload
from app.client import app as client_app
from app.config.load import load_config
from app.node.protocol_store import ContextStore
from app.node.settings import simulate_in_this_process
from app.server import _initial_state
from app.simulation.in_process import InProcessGrid
from strategies.masked.messages import ADVERT, SHARE, unwrap, wrap
from strategies.refusals import REFUSAL_CODE, Reason
from strategies.rounds.records import to_arrays, to_parameters
from strategies.secagg.binding import MaskBinding
from strategies.secagg.fields import AttemptId
from strategies.secagg.messages import Roster, TrainRequest, UnmaskRequest
from strategies.secagg.reasons import RefusalReason
from strategies.secagg.server.role import ServerRole
from strategies.secagg.wire import Wire
from workloads.model_arrays import hash_state
from workloads.values import State

IDS = (1000, 1001, 1002, 1003)
ENUMERATED = {
    *((REFUSAL_CODE, reason.value) for reason in Reason),
    *((1100 + reason, f"secagg_{reason.name.lower()}") for reason in RefusalReason),
}


class Nodes:
    """Four real clients with their contexts, and a server that can say anything to them."""

    def __init__(self) -> None:
        simulate_in_this_process()
        run_config = {
            "task": "breast_cancer",
            "aggregation": "secagg",
            "overrides": "task.training.num_steps=1",
        }
        self.contexts = {
            node: Context(
                run_id=1,
                node_id=node,
                node_config={"partition-id": node - 1000, "num-partitions": len(IDS)},
                state=RecordDict(),
                run_config=run_config,
            )
            for node in IDS
        }
        self._grid = InProcessGrid({n: self._client(n) for n in IDS})
        config = load_config(run_config)
        workload = build_workload(config)
        facts = RunFacts(1, len(IDS), workload, 10)
        self.settings = build_strategy(config, facts)._settings
        self.arrays = to_arrays(_initial_state(config, workload).arrays)

    def _client(self, node: int):
        return lambda message: client_app(message, self.contexts[node])

    def send(self, node: int, kind: str, content: RecordDict) -> Message:
        message = Message(content, dst_node_id=node, message_type=kind)
        (reply,) = self._grid.send_and_receive([message])
        return reply

    def ask(self, node: int, kind: str, wire: Wire) -> bytes:
        reply = self.send(node, kind, wrap(wire))
        assert not reply.has_error(), reply.error
        return bytes(unwrap(reply.content))

    def secrets(self, node: int) -> set[AttemptId]:
        records = ContextStore(self.contexts[node].state).records(1)
        return {attempt for attempt, record in records.items() if record.secrets}

    def advertised(self, attempt: AttemptId) -> tuple[ServerRole, Roster]:
        server = ServerRole(attempt, self.settings.parameters)
        for node in IDS:
            server.add_advert(node, self.ask(node, ADVERT, server.advert_request()))
        return server, server.close_adverts()

    def shared(self, attempt: AttemptId) -> ServerRole:
        server, _ = self.advertised(attempt)
        for node in IDS:
            server.add_shares(node, self.ask(node, SHARE, server.share_request(node)))
        server.close_shares()
        server.bind_masks(self.binding(self.arrays))
        return server

    def binding(self, arrays: ArrayRecord) -> MaskBinding:
        return MaskBinding(
            model=hash_state(State(to_parameters(arrays)), {}),
            config=self.settings.config_hash,
            codec=self.settings.coding.codec.hash(),
            noise_scale=0.0,
        )

    def model(self, request: TrainRequest, **other: object) -> RecordDict:
        """Return a train message; `other` replaces records, None leaves one out."""
        config = ConfigRecord({"server-round": request.attempt.round})
        records = {"arrays": self.arrays, "config": config, **other}
        kept = {name: record for name, record in records.items() if record is not None}
        return RecordDict({**kept, **wrap(request)})

    def masked(self, attempt: AttemptId) -> ServerRole:
        server = self.shared(attempt)
        for node in IDS:
            reply = self.send(node, "train", self.model(server.train_request(node)))
            assert not reply.has_error(), reply.error
            server.add_masked(node, unwrap(reply.content))
        server.close_masked()
        return server

    def refuses(self, node: int, kind: str, content: RecordDict) -> str:
        """Send what must be refused; return the reason, which is all that comes back."""
        reply = self.send(node, kind, content)
        assert reply.has_error()
        assert not reply.has_content()
        assert (reply.error.code, reply.error.reason) in ENUMERATED
        return reply.error.reason


FIRST, SECOND = AttemptId(1, 1, 0), AttemptId(1, 2, 1)
NODE = IDS[0]


def told(attempt: AttemptId, dropouts: set[int]) -> UnmaskRequest:
    survivors = tuple(node for node in IDS if node not in dropouts)
    return UnmaskRequest(attempt, survivors, tuple(sorted(dropouts)), (), (), None)
