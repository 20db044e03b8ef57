"""Hold this node in this message: what everything that runs on the node takes."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from flwr.app import Context

from app.config.run import AppConfig
from app.config.workload import exact_workload
from app.node.identity import load_identity, names_of
from app.node.own_models import SUFFIX, ContextModels, OwnModels
from app.node.own_report import Noted, OwnReport
from app.node.policy import Policy
from app.node.protocol_memory import SqliteMemory
from app.node.protocol_store import ContextStore, SqliteStore
from app.node.running_code import approved_bundles, running_bundle
from app.node.settings import NodeSettings
from app.node.views import ExactViews, RunViews, Views, member_name
from privacy.accounting.calibration_cache import Calibrations
from privacy.ledger.heads import HeadChain
from privacy.ledger.ledger import Ledger
from strategies.secagg.client.memory import Memory, NoMemory
from strategies.secagg.client.store import Store
from strategies.secagg.crypto.identity import Identity
from tasks.base import DataSource, Task
from tasks.records import LocalData

# A simulated node without a policy has no name for its data.
_UNNAMED = "simulated"


@dataclass(frozen=True, eq=False)
class NodeSession:
    """Hold what belongs to one node while it answers one message.

    Made once for each message, so that all of an answer goes by the same policy. Files other
    than the policy are opened when they are first asked for.

    Attributes
    ----------
    context : Context
        Flower's context, which names the run and the node.
    config : AppConfig
        The configuration of the run.
    settings : NodeSettings
        The node's own configuration and its policy.
    held : LocalData, optional
        Records of nobody in place of the node's own: an audit's canaries, in a simulation.
    """

    context: Context
    config: AppConfig
    settings: NodeSettings
    held: LocalData | None = None

    def __post_init__(self) -> None:
        if self.held is not None and not self.settings.simulated:
            raise TypeError("outside a simulation a node has its own records and no others")

    @property
    def run_id(self) -> int:
        """Return Flower's id of the run."""
        return self.context.run_id

    @property
    def node_id(self) -> int:
        """Return Flower's id of the node."""
        return self.context.node_id

    @property
    def policy(self) -> Policy | None:
        """Return what the node's owner allows; None if there is no policy file."""
        return self.settings.policy

    @property
    def exact(self) -> str | None:
        """Return the workload if its sums are exact and answer what the server asks."""
        return exact_workload(self.config.algorithm, self.config.privacy)

    @property
    def shows_spread(self) -> bool:
        """Return whether the run counts participants, with no noise."""
        return self.config.rounds.participant_spread and self.config.privacy.mode is None

    @property
    def source(self) -> DataSource:
        """Return what a task is told of the node."""
        return self.settings.source

    def records(self, task: Task) -> LocalData:
        """Return this node's records.

        Raises
        ------
        DataError
            If they do not fit the task.
        """
        return task.load(self.source) if self.held is None else self.held

    def take_base(self, task: Task) -> None:
        """Let a task find its base or backbone where this node has it, and nowhere else.

        The server names a path of its own machine; only a simulated node may share it.
        """
        if self.settings.base_model is not None or not self.settings.simulated:
            task.base = self.settings.base_model

    @property
    def state_file(self) -> Path:
        """Return the node's own file; two SuperNodes of one user must not share it."""
        if self.settings.state_path is not None:
            return self.settings.state_path
        return Path.home() / ".tacet" / "nodes" / str(self.node_id) / "state.sqlite"

    @cached_property
    def identity(self) -> Identity:
        """Return the node's identity.

        Raises
        ------
        IdentityError
            If the node does not name its key and its peers, or a file is wrong.
        """
        return load_identity(self.settings.identity_key, self.settings.peers_file)

    @cached_property
    def store(self) -> Store:
        """Return where the node keeps its records of the protocol."""
        if self.settings.simulated:
            return ContextStore(self.context.state)
        return SqliteStore(self.state_file)

    @cached_property
    def memory(self) -> Memory:
        """Return what the node remembers of other attempts; nothing if it keeps nothing.

        Raises
        ------
        IdentityError
            If the run has identities and this node's cannot be read.
        """
        if not self.keeps_state:
            return NoMemory()
        chain = None
        if self.config.aggregation.is_signed:
            chain = HeadChain(self.state_file, self.identity.ledger_key(self.dataset))
        return SqliteMemory(self.state_file, chain, self._views)

    @property
    def _views(self) -> Views:
        policy = self.policy
        if policy is not None and (self.exact is not None or self.shows_spread):
            return ExactViews(self.state_file, policy.dataset, self._name_of)
        return RunViews(self.state_file, policy.max_cohort_changes if policy else None)

    def _name_of(self, member: bytes) -> str:
        """Return what the owner of this node calls another one."""
        named = names_of(self.settings.peers_file) if self.config.aggregation.is_signed else {}
        return member_name(member, named)

    @cached_property
    def ledger(self) -> Ledger | None:
        """Return the ledger of the node's data set; None if the node keeps nothing."""
        if not self.keeps_state:
            return None
        return Ledger(self.state_file, self.dataset)

    @cached_property
    def calibrations(self) -> Calibrations | None:
        """Return what the node has calibrated before; None if the node keeps nothing."""
        return Calibrations(self.state_file) if self.keeps_state else None

    @cached_property
    def noted(self) -> Noted:
        """Return what the node notes for its owner while it answers; nothing of it leaves."""
        return Noted()

    @cached_property
    def own_report(self) -> OwnReport | None:
        """Return the report of the node's own side; None if the node keeps nothing."""
        return OwnReport(self.state_file) if self.keeps_state else None

    @property
    def own_models_file(self) -> Path:
        """Return where the node keeps models of its own, beside its file."""
        return self.state_file.with_name(self.state_file.name + SUFFIX)

    def own_models(self) -> OwnModels | ContextModels:
        """Return where the node keeps models: its own file or, simulated, its context."""
        if self.keeps_state:
            return OwnModels(self.own_models_file, self.run_id)
        return ContextModels(self.context.state)

    @cached_property
    def bundle(self) -> bytes:
        """Return the SHA-256 of the bundle that runs, all 0 without the guard.

        Raises
        ------
        PolicyError
            If the guard's environment variable holds something else.
        """
        return running_bundle(self.settings.simulated)

    def approved_bundles(self) -> frozenset[bytes] | None:
        """Return the bundles that the node's owner approved, for peers too; None for any.

        Raises
        ------
        PolicyError
            If the policy lists bundles and what runs here is none of them.
        """
        return approved_bundles(self.policy, self.settings.simulated)

    @property
    def dataset(self) -> str:
        """Return the name of the node's data, from its policy."""
        return self.policy.dataset if self.policy else _UNNAMED

    @property
    def keeps_state(self) -> bool:
        """Return whether the node has a file of its own."""
        # Nobody is to be protected in a simulation; one with state paths keeps ledgers too.
        return not self.settings.simulated or self.settings.state_path is not None
