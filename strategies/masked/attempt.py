"""One attempt at a masked round: the server's side of its trips, from the model to the sum."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from flwr.app import Message, RecordDict

from strategies.codec.codec import form_of, public_seed
from strategies.codec.stages import SumContext
from strategies.masked.encryption import Form, Integers, OpenableSum, bind
from strategies.masked.messages import (
    ADVERT,
    CONFIRM,
    SHARE,
    UNMASK,
    BadContentError,
    protocol_reason,
    unwrap,
    wrap,
)
from strategies.masked.opened_sum import check_sum, report_counts
from strategies.masked.settings import SecAggSettings
from strategies.refusals import Reason, reason_of
from strategies.rounds.attempt import (
    CohortTooSmallError,
    RoundAttempt,
    RoundResult,
    RunStoppedError,
)
from strategies.rounds.records import message_kind
from strategies.rounds.strategy import RoundStrategy
from strategies.rounds.transport import PollingGrid
from strategies.secagg.packing import packed_bytes
from strategies.secagg.server.key_role import KeyRole
from strategies.secagg.server.outcome import (
    AbandonedError,
    BadReplyError,
    MismatchError,
    OpenedKeys,
    Phase,
)
from strategies.secagg.server.role import ServerRole
from strategies.secagg.signed_sum import SignedSum
from strategies.secagg.wire import Wire
from workloads.values import Aggregate

log = logging.getLogger("flwr.tacet")

Take = Callable[[int, bytes | memoryview], object]


class Post(NamedTuple):
    """A message of a trip, whose content is made when it is sent."""

    node: int
    kind: str
    content: Callable[[], RecordDict]


class MaskedRound:
    """One attempt at one round, from the first message to the sum."""

    def __init__(
        self,
        strategy: RoundStrategy,
        settings: SecAggSettings,
        grid: PollingGrid,
        asked: RoundAttempt,
        attempts: Iterator[int],
        *,
        training: bool,
    ) -> None:
        self._strategy, self._settings = strategy, settings
        self._attempts = attempts
        self._grid, self._asked = grid, asked
        self._training = training
        self._failures: dict[int, str] = {}
        self._answered: set[int] = set()
        self._num_asked = 0
        # The next round's role, on its way; and when its keys and shares are all there.
        self._following: ServerRole | None = None
        self._ciphertexts: OpenableSum | None = None
        self.ready: ServerRole | None = None

    def run(self, role: ServerRole | None) -> RoundResult:
        """Return the result; without a state if the attempt was abandoned.

        Parameters
        ----------
        role : ServerRole or None
            The role whose keys came with the round before, if there is one.

        Raises
        ------
        RunStoppedError
            If the numbers do not fit the cohort, before anything is sent; or if the sum that
            was opened cannot be stepped with, see `check_sum`. It knows who has failed.
        """
        known = set(self._settings.disputes.liars)
        try:
            result = self._run(role)
        except AbandonedError as error:
            log.warning("secure aggregation, round %d: %s", self._asked.number, error)
            result = RoundResult(None, {}, self._num_asked, 0)
        except RunStoppedError as error:
            error.failures = self._failures | self._named(known)
            raise
        return replace(
            result,
            failures=self._failures | self._named(known),
            answered=frozenset(self._answered),
        )

    def _run(self, role: ServerRole | None) -> RoundResult:
        if role is None or role.attempt.round != self._asked.number or not self._suits(role):
            role = self._bootstrap()
        self._num_asked = max(self._num_asked, len(role.cohort))
        self._collect_masked(role)
        if len(role.survivors) < self._strategy.min_replies:
            raise AbandonedError(f"{len(role.survivors)} survivors")
        return self._open(role)

    def _named(self, known: set[int]) -> dict[int, str]:
        """Return the liars that this attempt has shown, for the loop to leave them out."""
        liars = self._settings.disputes.liars
        for node in set(liars) - known:
            log.warning("client %d breaks the protocol: %s", node, liars[node])
        return dict.fromkeys(set(liars) - known, Reason.PROTOCOL_BROKEN)

    def _new_role(self, number: int, num_members: int, *, training: bool) -> ServerRole:
        """Begin an attempt with a new number, as a node takes part in each only once."""
        # Of as few as may be left of them: sums of fewer can have fewer bits (`value_bits`).
        least = min(num_members, self._settings.parameters.floor(0))
        form = self._form(least, training=training)
        return self._settings.new_role(number, next(self._attempts), form, num_members)

    def _form(self, num_members: int, *, training: bool) -> Form:
        """Return the form of contributions, of a round like this one."""
        size = self._strategy.workload.length(self._asked.state) if training else 0
        return form_of(self._settings.coding.codec, size, num_members)

    def _suits(self, role: ServerRole) -> bool:
        """Return whether what nodes have dealt a round ago is for what is asked now."""
        num_members = len(role.cohort)
        form = self._form(num_members, training=self._training)
        try:
            self._settings.encryption_for(role, form, num_members)
        except RunStoppedError:
            return False
        return True

    def _bootstrap(self) -> ServerRole:
        """Exchange keys and shares in two trips of their own."""
        cohort = self._asked.draw(self._asked.number)
        self._settings.check_fits(len(cohort))
        self._settings.say_limits(len(cohort))
        self._num_asked = len(cohort)
        role = self._new_role(self._asked.number, len(cohort), training=self._training)
        self._ask_all(cohort, ADVERT, role.advert_request(), role.add_advert)
        role.close_adverts()
        self._exchange(_share_posts(role, role.members), {SHARE: role.add_shares})
        role.close_shares()
        return role

    def _collect_masked(self, role: ServerRole) -> None:
        """Run the train trip; the adverts of the next round ride along."""
        asked, settings = self._asked, self._settings
        next_cohort = self._look_ahead()
        ahead = set(next_cohort)
        following = self._following
        codec = settings.coding.codec
        content = self._strategy.requests(asked.number, asked.state)
        asked_hash = self._strategy.hash_asked(asked.number, asked.state)
        form = self._form(len(role.cohort), training=self._training)
        encryption = settings.encryption_for(role, form, len(role.cohort))
        bound = bind(codec, asked_hash, settings.config_hash, encryption)
        role.bind_masks(bound, form, self._strategy.log_head)
        if isinstance(role, KeyRole) and encryption is not None:
            role.ciphertexts = self._ciphertexts = encryption.new_sum()
        kind = message_kind(training=self._training)
        posts = [
            Post(node, kind, self._model_content(role, content, following, node, ahead))
            for node in role.cohort
        ]

        def take_masked(sender: int, data: bytes | memoryview) -> None:
            message = role.add_masked(sender, data)
            self._answered.add(sender)
            if following is not None and message.next_advert is not None:
                following.add_advert(sender, message.next_advert)

        takes: dict[str, Take] = {kind: take_masked}
        if following is not None:
            newcomers = [node for node in next_cohort if node not in role.cohort]
            posts += _same(newcomers, ADVERT, following.advert_request())
            takes[ADVERT] = following.add_advert
        self._strategy.note_release(asked, training=self._training)
        sent = encryption.num_bytes if encryption else packed_bytes(form[1], form[0])
        self._exchange(posts, takes, sent)
        role.close_masked()
        self._failures |= dict.fromkeys(role.sat_out, Reason.IN_DISPUTE)

    def _model_content(
        self,
        role: ServerRole,
        shared: Callable[[int], RecordDict],
        following: ServerRole | None,
        node: int,
        next_cohort: Collection[int],
    ) -> Callable[[], RecordDict]:
        """Return what makes the content for a node of the cohort: state and its own request."""
        ahead = following.attempt if following and node in next_cohort else None
        return lambda: RecordDict({**shared(node), **wrap(role.train_request(node, ahead))})

    def _open(self, role: ServerRole) -> RoundResult:
        """Run the unmask trip, with the shares of the next round, and step."""
        if role.phase is Phase.CONFIRM:
            self._ask_all(role.survivors, CONFIRM, role.confirm_request(), role.add_view)
            role.close_views()
        following = _with_roster(self._following)
        self._unmask(role, following)
        sums, signed = self._opened(role)
        if following is not None:
            self._keep_if_shared(following)
        coding = self._settings.coding
        aggregate = coding.codec.decode(
            *sums,
            SumContext(
                seed=public_seed(role.attempt),
                num_contributions=len(role.cohort),
                num_survivors=len(role.survivors),
            ),
            has_metrics=coding.has_metrics(self._asked.number, training=self._training),
        )
        return replace(self._result(role, aggregate), signed=signed)

    def _opened(self, role: ServerRole) -> tuple[Integers, SignedSum | None]:
        """Return the sums, and what the survivors have signed."""
        if not isinstance(role, KeyRole):
            total = role.finish()
            return (total.update, total.scalars), total.signed
        opened = role.finish_keys()
        for node in opened.misfits:
            log.warning(
                "client %d: its share of the sum of keys does not fit the others', which opened"
                " the sum without it: it lies, or somebody has dealt it a false share",
                node,
            )
        # Which of both nobody can tell.
        self._failures |= dict.fromkeys(opened.misfits, Reason.IN_DISPUTE)
        return self._decrypted(opened, role.plan), opened.signed

    def _decrypted(self, opened: OpenedKeys, plan: bytes) -> Integers:
        """Return the sums of the contributions, from that of their keys.

        Raises
        ------
        RunStoppedError
            If keys and ciphertexts do not match. As of any sum that cannot be, see `check_sum`:
            nodes have helped to open it, and do so once for each model.
        """
        if self._ciphertexts is None:
            raise RuntimeError("no ciphertext has come")
        try:
            return self._ciphertexts.opened(opened.key_sum, plan)
        except MismatchError as error:
            raise RunStoppedError(
                f"round {self._asked.number}: {error}; the model of the round before stands"
            ) from None

    def _unmask(self, role: ServerRole, following: ServerRole | None) -> None:
        members = set(following.members) if following is not None else set[int]()

        def content(node: int) -> RecordDict:
            ahead = following if node in members else None
            return wrap(role.unmask_request(ahead.share_request(node) if ahead else None))

        # Drawn and put together when it is sent: with many nodes all are large.
        posts = [Post(node, UNMASK, partial(content, node)) for node in role.survivors]

        def take_unmask(sender: int, data: bytes | memoryview) -> None:
            reply = role.add_unmask(sender, data)
            if following is not None and reply.next_shares is not None:
                following.add_shares(sender, reply.next_shares)

        takes: dict[str, Take] = {UNMASK: take_unmask}
        if following is not None:
            posts += _share_posts(following, sorted(members - set(role.survivors)))
            takes[SHARE] = following.add_shares
        self._exchange(posts, takes)

    def _result(self, role: ServerRole, aggregate: Aggregate) -> RoundResult:
        asked, num_survivors = self._asked, len(role.survivors)
        report_counts(asked.number, aggregate, num_survivors)
        codec = self._settings.coding.codec
        check_sum(asked.number, aggregate, num_survivors, codec)
        state = None
        if self._training:
            state = self._strategy.step(asked.number, asked.state, aggregate)
        return RoundResult(
            state,
            self._strategy.workload.means(aggregate),
            self._num_asked,
            num_survivors,
            aggregate=aggregate,
            survivors=role.survivors,
        )

    def _look_ahead(self) -> list[int]:
        """Draw the next round's cohort and begin its role; empty if there is none."""
        if not self._training:
            return []
        try:
            cohort = self._asked.draw(self._asked.number + 1)
            self._settings.check_fits(len(cohort))
        except (RunStoppedError, CohortTooSmallError):
            # Too few for the next round is the next round's matter.
            return []
        # The last evaluation asks for no update, but what was dealt for one does for it.
        self._following = self._new_role(self._asked.number + 1, len(cohort), training=True)
        return cohort

    def _keep_if_shared(self, following: ServerRole) -> None:
        try:
            following.close_shares()
            self.ready = following
        except AbandonedError as error:
            log.info("the next round begins with keys of its own: %s", error)

    def _ask_all(self, nodes: Sequence[int], kind: str, wire: Wire, take: Take) -> None:
        self._exchange(_same(nodes, kind, wire), {kind: take})

    def _enough(self, kinds: set[str]) -> int:
        """Return with how many answers a trip goes on without those that are late."""
        parameters, num_members = self._settings.parameters, self._num_asked
        if kinds & {CONFIRM, UNMASK}:
            return parameters.quorum(parameters.shape(num_members))
        return max(parameters.survivors(num_members), self._strategy.min_replies)

    def _exchange(
        self, posts: Sequence[Post], takes: dict[str, Take], reply_bytes: int = 0
    ) -> None:
        """Send a trip's messages and pass each good reply to the role's handler as it comes."""
        kinds = {post.node: post.kind for post in posts}
        enough = self._enough(set(kinds.values()))

        def take(node: int, reply: Message) -> None:
            if reply.has_error():
                self._failures[node] = protocol_reason(reply.error) or reason_of(reply)
                return
            try:
                takes[kinds[node]](node, unwrap(reply.content))
            except (BadReplyError, BadContentError) as error:
                log.debug("client %d: %s", node, error)
                self._failures[node] = Reason.MALFORMED_REPLY

        trip = self._grid.exchange(
            (Message(p.content(), dst_node_id=p.node, message_type=p.kind) for p in posts),
            self._asked.deadline_seconds,
            enough,
            take,
            reply_bytes,
            [(post.node, post.kind) for post in posts],
        )
        self._failures |= dict.fromkeys(trip.silent, Reason.NO_ANSWER)


def _same(nodes: Sequence[int], kind: str, wire: Wire) -> list[Post]:
    """Return messages with the same content: its record is there once."""
    if not nodes:
        return []
    content = wrap(wire)
    return [Post(node, kind, lambda: RecordDict({**content})) for node in nodes]


def _share_posts(role: ServerRole, nodes: Sequence[int]) -> list[Post]:
    """Return the requests to share under the role's roster, each with keys of its own."""
    return [Post(n, SHARE, partial(_share_content, role, n)) for n in nodes]


def _share_content(role: ServerRole, node: int) -> RecordDict:
    return wrap(role.share_request(node))


def _with_roster(following: ServerRole | None) -> ServerRole | None:
    """Close the adverts of the next round's role; None if too few came."""
    if following is None:
        return None
    try:
        following.close_adverts()
    except AbandonedError:
        return None
    return following
