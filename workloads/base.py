"""The contract of a workload: what each node adds to a round's sum, and what the sum becomes.

A workload has two halves in one file. The client's half turns records into a contribution, the
server's half turns the sum of all contributions into the next state. Neither knows how the sum
is computed nor what noise is in it.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import sqrt
from typing import Any, ClassVar, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from privacy.bounding.bounded_sum import BoundedSum, sum_of_terms
from privacy.mode import Mode, Place
from privacy.noise.sampling import poisson_sample
from privacy.plan.plan import PrivacyPlan
from privacy.unit import Unit
from workloads.report import Report
from workloads.scoring import spread
from workloads.scoring.bins import ScoreBins
from workloads.scoring.counted import evaluation_of
from workloads.scoring.evaluation import Evaluation
from workloads.values import (
    EVAL_PREFIX,
    NUM_EXAMPLES,
    Aggregate,
    Arrays,
    Contribution,
    PrivateContribution,
    Query,
    State,
    Vector,
    names_of_scores,
)

log = logging.getLogger("flwr.tacet")


class Step(Protocol):
    """A step of the server's optimiser: move arrays by a mean."""

    def __call__(
        self, server_round: int, before: Arrays, mean: NDArray[np.float32], weight: float
    ) -> Arrays:
        """Return the arrays after the step, with names, shapes and dtypes kept."""
        ...


class Records(Protocol):
    """One node's records, split into a training and a held-out part."""

    @property
    def train(self) -> Any:
        """Return the records that are summed over."""
        ...

    @property
    def test(self) -> Any:
        """Return the records that are held out."""
        ...

    @property
    def personal(self) -> Mapping[str, NDArray[Any]] | None:
        """Return the node's own part of the model, where it has one."""
        ...


@dataclass(frozen=True, kw_only=True)
class Privacy:
    """The public numbers by which a workload makes a private contribution.

    Attributes
    ----------
    plan : PrivacyPlan
        Noise, grid and schedule of the run.
    clip_norm : float
        C of this round.
    loss_clip : float
        A record's loss counts as this much at most in a metric.
    """

    plan: PrivacyPlan
    clip_norm: float
    loss_clip: float

    @property
    def mode(self) -> Mode:
        """Return whose presence is hidden and where the noise is added."""
        return self.plan.terms.mode


@dataclass
class WorkloadConfig:
    """The configuration of ``algorithm``: what is summed, and how the server steps."""

    def settle(self, mode: Mode | None, num_rounds: int, *, is_settled: bool) -> None:
        """Replace what is left to the privacy option by what that stands for.

        Parameters
        ----------
        mode : Mode or None
            Whose presence is hidden and where the noise is added; None for no privacy.
        num_rounds : int
            Rounds of the run.
        is_settled : bool
            Whether the server's step is worked out from the noise.
        """

    def check_one_step(self, why: str) -> None:
        """Raise ``ValueError`` if it has no effect where a contribution is one step.

        ``why`` it is one, in words, with the key and its value if that is what makes it so.
        """


@dataclass(frozen=True, kw_only=True)
class Setup:
    """The public settings that a workload is made from.

    Attributes
    ----------
    task : Task
        The task, which has the records and the model.
    algorithm : WorkloadConfig
        The option of ``algorithm``.
    mode : Mode or None
        Unit of ``privacy`` and the place of its noise; None for none.
    population : int
        Nodes of the federation; 0 where privacy does not give it.
    cohort_fraction : float
        Chance of a node to be in a cohort.
    expected_batch_size : float
        Public divisor of a sum over records; example unit only.
    learning_rate : float or None
        What the server multiplies a noisy mean by; None where there is none, or none yet: the
        server works it out from the noise (``app.builders.step``).
    noise : float
        Standard deviation of a private sum's noise, in units of the sum, at least: it may be
        more where more nodes answer. 0 where there is none, or none yet: as ``learning_rate``.
    num_rounds : int
        Rounds of the run.
    clip_norm : float or None
        What a record's term is clipped to; None where there is none. Example unit only.
    fix_model : bool
        Whether layers that cannot be trained per record are replaced.
    counts_participants : bool
        Whether the participants' own accuracies are counted, see ``workloads.scoring.spread``.
    """

    task: Any
    algorithm: Any
    mode: Mode | None = None
    population: int = 0
    cohort_fraction: float = 1.0
    expected_batch_size: float = 1.0
    learning_rate: float | None = None
    noise: float = 0.0
    num_rounds: int = 1
    clip_norm: float | None = None
    fix_model: bool = False
    counts_participants: bool = False


class Workload(ABC):
    """What is summed, and what becomes of the sum. See ``docs/architecture.md``.

    Every method is a function of its arguments and of public settings. torch is imported inside
    the functions that need it.

    Parameters
    ----------
    setup : Setup
        The public settings.
    """

    #: The configuration class of ``algorithm``, where the workload has an option of its own.
    Config: ClassVar[type[WorkloadConfig] | None] = None
    #: Units and places of noise that the workload has a bound for.
    serves: ClassVar[frozenset[tuple[Unit, Place]]] = frozenset()
    #: Whether it runs without differential privacy, too.
    serves_exact: ClassVar[bool] = True
    #: Whether a client's update counts in proportion to its records.
    is_weighted: ClassVar[bool] = False
    #: Whether the next state is the mean of all updates, in which each has a part of its own.
    averages_updates: ClassVar[bool] = False
    #: Whether updates are whole numbers: their sum is exact, modulo 2^64.
    is_integer: ClassVar[bool] = False
    #: Whether the state is the parameters of the task's model.
    has_model: ClassVar[bool] = False
    #: Whether a whole sum is one direction, along which the state steps: then its length over
    #: that of its noise tells whether the result is noise, and how far a step may go.
    sums_a_direction: ClassVar[bool] = False
    #: Whether it works on ``Examples.columns``: then the task must have a table.
    needs_table: ClassVar[bool] = False
    #: Whether it works on a label with a time and an event, and on no other.
    needs_times: ClassVar[bool] = False
    #: What to take instead under a privacy option that it does not serve; empty for no more.
    instead: ClassVar[str] = ""
    #: What a node takes the numbers of a state for, and so what masks are bound to.
    loads_as: ClassVar[type[np.floating]] = np.float64
    #: Whether some records are held out, to be scored; otherwise all are summed over.
    holds_out: ClassVar[bool] = True
    #: Keys of ``task.training`` without effect, and why, with the mend; "" for all of them.
    idle_training: ClassVar[Mapping[str, str]] = {
        "": "this workload trains no model on a node; take it out"
    }
    #: After so many rounds nothing is left to ask; a run has no more. None for any number.
    most_rounds: ClassVar[int | None] = None
    #: Whether a round may look at a sample of the records, and not at all of them.
    takes_samples: ClassVar[bool] = True
    #: Whether a record counts as often as its weight says, where the task has weights.
    takes_weights: ClassVar[bool] = False
    #: Why a run cannot begin with the model of another one, with the mend; empty if it can.
    begins_afresh: ClassVar[str] = (
        "its later rounds build on what its own first ones have counted, and nodes follow its"
        " sums from there; take initial-model out (resume-from goes on with a run)"
    )
    #: Whether ``privacy.clip_norm`` bounds a term, or what the term is does.
    needs_clip_norm: ClassVar[bool] = True

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.task = setup.task

    @classmethod
    def build(cls, setup: Setup) -> Workload:
        """Return the workload of these settings; the default is one of this class."""
        return cls(setup)

    def opened(self, state: State) -> tuple[Workload, State]:
        """Return the workload and its state that a model file is read as.

        The default is these; one that wraps another, see ``QuantileBinned``, takes it out.
        """
        return self, state

    def with_learning_rate(self, learning_rate: float) -> Self:
        """Return this workload with another learning rate."""
        return type(self)(replace(self.setup, learning_rate=learning_rate))

    def with_noise(self, noise: float) -> Self:
        """Return this workload with the noise of its sums, which the server knows."""
        return type(self)(replace(self.setup, noise=noise))

    @property
    def learning_rate(self) -> float:
        """Return what a noisy mean is multiplied by."""
        if self.setup.learning_rate is None:
            raise TypeError("the learning rate comes with the noise: see with_learning_rate")
        return self.setup.learning_rate

    @property
    def metric_names(self) -> tuple[str, ...]:
        """Return the names of what is scored on held-out records beside the loss; or none."""
        return ()

    @property
    def scores(self) -> bool:
        """Return whether states are scored on held-out records at all."""
        return False

    @property
    def score_bins(self) -> ScoreBins | None:
        """Return how held-out records are counted by their scores; None for not at all."""
        return None

    @property
    def record_score_names(self) -> tuple[str, ...]:
        """Return the names of the sums over scored records: count, loss, metrics, bins."""
        if not self.scores:
            return ()
        bins = self.score_bins
        return (*names_of_scores(self.metric_names), *(bins.names if bins else ()))

    @property
    def score_names(self) -> tuple[str, ...]:
        """Return the names of all sums of the evaluation, those over participants too."""
        names = self.record_score_names
        return (*names, *spread.NAMES) if self.setup.counts_participants else names

    @property
    def scores_bound(self) -> float:
        """Return the largest L2 norm of one unit's scores under differential privacy.

        Count, loss and metrics are within [0, 1] each, and a record is in so many bins. A
        client's scores are the mean of its records', and it is in one bin of its own.
        """
        bins = self.score_bins
        counts = 2 + len(self.metric_names) + (bins.per_record if bins else 0)
        return sqrt(counts + self.setup.counts_participants)

    def means(self, aggregate: Aggregate) -> dict[str, float]:
        """Return what a person reads of a sum: losses and metrics, and what follows from bins.

        What says most comes first: where one class is rare that is not the accuracy.
        """
        found, evaluation = aggregate.means(), self._evaluation(aggregate)
        participants = spread.counts_of(aggregate.sums)
        if participants is not None:
            found[EVAL_PREFIX + "worst_decile"] = spread.worst_decile(participants)
        if evaluation is None:
            return found
        more = {EVAL_PREFIX + name: value for name, value in evaluation.metrics().items()}
        return more | found if evaluation.is_unbalanced else found | more

    def evaluation(self, aggregate: Aggregate) -> Report | None:
        """Return all that follows from the scores in a sum; None where there are none."""
        evaluation = self._evaluation(aggregate)
        if evaluation is None:
            return None
        found = aggregate.means()
        names = (n for n in found if n.startswith(EVAL_PREFIX))
        report = evaluation.report({n.removeprefix(EVAL_PREFIX): found[n] for n in names})
        participants = spread.counts_of(aggregate.sums)
        if participants is None:
            return report
        table = spread.spread_table(participants, aggregate.scores_noise)
        worst = {"worst tenth of the participants": spread.worst_decile(participants)}
        facts = {**report.facts, **worst}
        return replace(report, facts=facts, tables=(*report.tables, table))

    def _evaluation(self, aggregate: Aggregate) -> Evaluation | None:
        bins, count = self.score_bins, aggregate.sums.get(EVAL_PREFIX + NUM_EXAMPLES, 0.0)
        if bins is None or count <= 0:
            return None
        counts, classes = aggregate.bins(len(bins)), self.task.class_names
        return evaluation_of(bins, counts, aggregate.scores_noise, classes)

    def sum_names(self, *, training: bool) -> tuple[str, ...]:
        """Return the names of the scalars that ``contribute`` gives, in order."""
        return ()

    def bound(self) -> float:
        """Return the largest L2 norm of one unit's term, where no clip norm is needed."""
        raise NotImplementedError(f"{type(self).__name__} is bounded by privacy.clip_norm")

    def num_parameters(self, state: State) -> int:
        """Return how many numbers are fitted to the records; 0 where that is not the point."""
        return 0

    def weights(self, state: State, query: Query, records: Any) -> Vector:
        """Return the weight of each training record in what a query asks, shape (n,).

        By it a node judges whether a few of its records would carry an exact sum.
        """
        return np.ones(len(records))

    def silenced(
        self, state: State, query: Query, records: Any, least: float
    ) -> tuple[Workload, int]:
        """Return this workload without what few of the records would answer for.

        Parameters
        ----------
        state, query : State, Query
            What is asked.
        records : Records
            This node's training records.
        least : float
            Fewer than so many are few.

        Returns
        -------
        workload : Workload
            One that adds zeros there.
        num_parts : int
            Of how many parts of the query, such as nodes of a tree; the default tells none
            apart.
        """
        return self, 0

    def share_names(self) -> tuple[str, ...]:
        """Return the sums among them of numbers from 0 to 1, over the scored records."""
        return ()

    def check(self, state: State) -> None:  # noqa: B027 - not every workload has a wrong one
        """Refuse a state that is none of this workload's, before anything is paid for it.

        Raises
        ------
        StateRefusedError
            If its arrays or its header do not fit.
        """

    def rehearse(self, records: Records | None = None) -> None:  # noqa: B027 - may have none
        """Compute on made-up records what a private round does, before anything is paid.

        Raises
        ------
        ValueError
            If it fails, or a made-up record is not of the form of ``records``. Depends on
            code and configuration only, never on a record.
        """

    @abstractmethod
    def initial_state(self) -> State:
        """Return the state before the first round, the same everywhere."""

    def largest_state(self) -> State:
        """Return a state of the size of the largest that is known beforehand.

        The default is the first one; where that says nothing yet, what later ones have is
        public, too.
        """
        return self.initial_state()

    def initial_personal(self) -> Arrays:
        """Return what each node keeps for itself beside the state, as it is at first; or none.

        A node hands it in with its records, and takes it from its contribution.
        """
        return {}

    def device(self) -> str:
        """Return where a node computes its part, in words; empty where it has no choice.

        Raises
        ------
        ValueError
            If the configuration asks for a device that this machine lacks.
        """
        return ""

    def asked(self, state: State) -> State:
        """Return the part of a state that nodes are asked about; the default is all of it.

        The rest stays on the server, and a checkpoint has it all. A node is given no more than
        this part, and checks this.
        """
        return state

    def length(self, state: State) -> int:
        """Return the length of the vector that a training round sums."""
        return sum(int(np.size(array)) for array in state.arrays.values())

    def longest(self) -> int:
        """Return the length of the longest vector that a run may sum, at most.

        The default is that of the first round.
        """
        return self.length(self.initial_state())

    @abstractmethod
    def contribute(
        self, state: State, query: Query, records: Records, rng: np.random.Generator
    ) -> Contribution:
        """Return this node's part of a round without differential privacy.

        Raises
        ------
        StateRefusedError
            If the state does not fit.
        """

    def evaluate(self, state: State, query: Query, records: Records) -> Contribution:
        """Return the scores of a state on the held-out records, with an empty update."""
        raise NotImplementedError(f"{type(self).__name__} scores nothing")

    def terms(self, state: State, query: Query, records: Any) -> Vector:
        """Return each record's term, float64, shape (n, length); the framework clips it.

        The framework asks for one record at a time, so that a term cannot depend on others.
        ``records`` are of the kind of the task's training records.
        """
        raise NotImplementedError(f"{type(self).__name__} has no term for each record")

    def bounded(
        self,
        state: State,
        query: Query,
        records: Records,
        rng: np.random.Generator,
        privacy: Privacy,
    ) -> PrivateContribution:
        """Return this node's part of a round under differential privacy.

        The default draws each record with the public rate and adds up their clipped ``terms``.
        """
        drawn = poisson_sample(len(records.train), privacy.plan.terms.sampling_rate, rng)
        length = self.length(state)
        terms = (
            self._term(state, query, record, length)
            for record in records.train.one_by_one(drawn)
        )
        return PrivateContribution(sum_of_terms(terms, length, privacy.clip_norm))

    def _term(self, state: State, query: Query, record: Any, length: int) -> Vector:
        """Return one record's term; zeros if it fails, which must not take the others along."""
        try:
            term = np.asarray(self.terms(state, query, record)[0], np.float64)
        except Exception:
            log.debug("a record has no term and counts as zero", exc_info=True)
            return np.zeros(length)
        return term if term.shape == (length,) else np.zeros(length)

    def bounded_metrics(
        self, state: State, records: Records, privacy: Privacy
    ) -> BoundedSum | None:
        """Return the metric vector of the held-out records as a bounded sum."""
        return None

    @classmethod
    def gives_model(cls) -> bool:
        """Return whether a run's result is a model, which predicts rows, and not tables."""
        return cls.has_model or cls.predict is not Workload.predict

    def predict(self, state: State, columns: Vector) -> Vector:
        """Return what a state says about records, where no neural model does.

        Parameters
        ----------
        state : State
            As published by a run.
        columns : ndarray, float64, shape (n, columns)
            Rows of the task's table, as of ``Examples.columns``.

        Returns
        -------
        ndarray, float64
            Probabilities, shape (n, classes), or values in the label's unit, shape (n,).
        """
        raise NotImplementedError(f"{type(self).__name__} predicts nothing")

    @classmethod
    def generates(cls) -> bool:
        """Return whether a run's result is a model that makes records up, and predicts none."""
        return cls.generate is not Workload.generate

    def generate(self, state: State, num_records: int, rng: np.random.Generator) -> Any:
        """Return records of nobody as ``tasks.records.Examples``, by a model that generates.

        Parameters
        ----------
        state : State
            As published by a run.
        num_records : int
            How many, at least 1.
        rng : numpy Generator
            Public: the same one makes the same records.
        """
        raise NotImplementedError(f"{type(self).__name__} makes no records up")

    def generator(self, state: State) -> Any:
        """Return the torch module that ``generate`` makes records by.

        Raises
        ------
        StateRefusedError
            If the arrays of the state are not those of this module.
        """
        raise NotImplementedError(f"{type(self).__name__} makes no records up")

    def generator_inputs(
        self, classes: NDArray[np.int64], rng: np.random.Generator
    ) -> NDArray[np.float32]:
        """Return what ``generator`` makes a record of each class of, shape (n, k)."""
        raise NotImplementedError(f"{type(self).__name__} makes no records up")

    def query(self, state: State, server_round: int) -> Query:
        """Return what a round asks about the state; the default asks for nothing of its own."""
        return Query(server_round)

    def is_finished(self, state: State) -> bool:
        """Return whether no round can add to a state; the run ends before its last round."""
        return False

    def published(self, state: State) -> State:
        """Return what a run gives where it ends with a state; the default gives that itself."""
        return state

    def ending(self, state: State) -> dict[str, Any]:
        """Return what a run's summary says of its last state, by name; JSON values."""
        return {}

    def report(self, state: State) -> Report | None:
        """Return what a person reads of a state; None where the state is a model."""
        return None

    def files(self, state: State) -> dict[str, str]:
        """Return the text of more files for the folder of a finished run, by name."""
        return {}

    @abstractmethod
    def apply(self, state: State, aggregate: Aggregate, server_round: int, step: Step) -> State:
        """Return the next state. Pure, but for what the optimiser in ``step`` remembers."""
