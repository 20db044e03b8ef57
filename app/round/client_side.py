"""The node in one message, as an aggregation's client half sees it."""

import logging

from flwr.app import Message

from app.builders.run import config_hash
from app.config.load import ConfigError
from app.node.node_log import tell_device
from app.node.session import NodeSession
from app.round.contribute import contribute, contribute_in_clear, rng_of
from app.round.own_contribution import (
    ALONE_STREAM,
    Given,
    gain_to_publish,
    tell_contribution,
)
from app.round.request import read
from strategies.aggregation import AggregationConfig, Request
from strategies.codec.codec import Encoded
from strategies.codec.stages import SumContext
from strategies.secagg.client.memory import Memory
from strategies.secagg.client.store import Store
from strategies.secagg.crypto.identity import Identity
from workloads.values import Contribution

log = logging.getLogger("flwr.tacet")


class SessionSide:
    """Offer an aggregation what it needs of the node, and nothing else.

    Parameters
    ----------
    session : NodeSession
        The node in this message. See ``strategies.aggregation.ClientSide``.
    """

    def __init__(self, session: NodeSession) -> None:
        self._session = session
        self._request: Request | None = None

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
    def memory(self) -> Memory:
        """Return what the node remembers of other attempts."""
        return self._session.memory

    @property
    def bundle(self) -> bytes:
        """Return the SHA-256 of the code that runs."""
        return self._session.bundle

    def approved_bundles(self) -> frozenset[bytes] | None:
        """Return the bundles that peers may run; None for any."""
        return self._session.approved_bundles()

    def read(self, message: Message) -> Request:
        """Read a request for a contribution, trusting nothing."""
        request = read(message, self._session)
        # Refused here, before anything is charged, where the device is not there.
        tell_device(self._session, request.workload.device())
        self._request = request
        return request

    def check_fits(self, num_contributions: int) -> None:
        """Refuse a cohort that the codec was not sized for."""
        try:
            self._asked().codec.check_fits(num_contributions)
        except ValueError as error:
            raise ConfigError(str(error)) from None

    def contribute(self, attempt: int | None, context: SumContext) -> Encoded:
        """Charge what the contribution to the request reveals, then return it encoded, once.

        By the request as it was read here, whatever an aggregation has made of its copy.
        """
        request, self._request = self._asked(), None
        encoded = contribute(request, self._session, attempt, context)
        # Before a mask is added, in place.
        self._tell(request, attempt, (encoded, context))
        return encoded

    def contribute_in_clear(self) -> Contribution:
        """Return the contribution of a run in which nodes do not encode."""
        request, self._request = self._asked(), None
        contribution = contribute_in_clear(request, self._session)
        self._tell(request, None, None)
        return contribution

    def _tell(
        self,
        request: Request,
        attempt: int | None,
        encoded: tuple[Encoded, SumContext] | None,
    ) -> None:
        """Work out for the node's owner what its part is worth, where the owner asks."""
        session = self._session
        if not session.settings.contribution:
            return
        # The contribution is charged, and made once: nothing that fails here may lose it.
        try:
            self._tell_given(request, attempt, encoded)
        except Exception:
            log.warning("what this node adds could not be worked out", exc_info=True)
        # Of a node whose records have failed, too: whether it publishes tells nothing of them.
        try:
            session.noted.gain = gain_to_publish(request, session)
        except Exception:
            log.warning("what this node gains could not be worked out", exc_info=True)

    def _tell_given(
        self,
        request: Request,
        attempt: int | None,
        encoded: tuple[Encoded, SumContext] | None,
    ) -> None:
        session = self._session
        if session.noted.given is None:
            return
        records, contribution = session.noted.given
        config, place = session.config, session.source.partition_id
        number = request.query.server_round
        tell_contribution(
            request,
            session,
            records,
            Given(contribution, attempt, encoded),
            lambda: rng_of(config, place, number, secure=False, stream=ALONE_STREAM),
        )

    def _asked(self) -> Request:
        if self._request is None:
            raise RuntimeError("no request was read, or it was answered already")
        return self._request
