"""The node in one message, as an aggregation's client half sees it."""

from flwr.app import Message

from app.builders.run import config_hash
from app.config.load import ConfigError
from app.node.session import NodeSession
from app.round.contribute import contribute
from app.round.request import read
from strategies.aggregation import AggregationConfig, Request
from strategies.secagg.client.store import Store
from strategies.secagg.crypto.keys import Identity
from workloads.values import Contribution, PrivateContribution


class SessionSide:
    """Offer an aggregation what it needs of the node, and nothing else.

    Parameters
    ----------
    session : NodeSession
        The node in this message. See ``strategies.aggregation.ClientSide``.
    """

    def __init__(self, session: NodeSession) -> None:
        self._session = session

    @property
    def config(self) -> AggregationConfig:
        """Return the aggregation's configuration."""
        return self._session.config.aggregation

    @property
    def config_hash(self) -> bytes:
        """Return SHA-256 of the whole configuration (32 bytes)."""
        return config_hash(self._session.config)

    @property
    def run_id(self) -> int:
        """Return Flower's id of the run."""
        return self._session.run_id

    @property
    def node_id(self) -> int:
        """Return Flower's id of the node."""
        return self._session.node_id

    @property
    def num_simulated(self) -> int | None:
        """Return the number of simulated nodes; None in a deployment."""
        return self._session.settings.num_simulated

    @property
    def store(self) -> Store:
        """Return where the node keeps its records of a protocol."""
        return self._session.store

    @property
    def identity(self) -> Identity:
        """Return the node's identity."""
        return self._session.identity

    @property
    def bundle(self) -> bytes:
        """Return the SHA-256 of the code that runs."""
        return self._session.bundle

    def approved_bundles(self) -> frozenset[bytes] | None:
        """Return the bundles that peers may run; None for any."""
        return self._session.approved_bundles()

    def read(self, message: Message) -> Request:
        """Read a request for a contribution, trusting nothing."""
        return read(message, self._session)

    def check_fits(self, request: Request, num_contributions: int) -> None:
        """Refuse a cohort that the codec was not sized for."""
        try:
            request.codec.check_fits(num_contributions)
        except ValueError as error:
            raise ConfigError(str(error)) from None

    def contribute(
        self, request: Request, attempt: int | None
    ) -> Contribution | PrivateContribution:
        """Charge what a contribution reveals to the node's ledger, then return it; loads torch.

        One call, so that no aggregation can forget the first half.
        """
        return contribute(request, self._session, attempt)
