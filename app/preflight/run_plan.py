"""What a run would cost and promise, worked out from its configuration alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from math import ceil
from typing import Any

import numpy as np

from app.builders.privacy import naming_extremes, privacy_plan
from app.builders.run import build_codec, exact_codec, node_encodes, nodes_follow
from app.builders.workload import build_workload
from app.config.load import Scalar, option_of
from app.config.plain import finite
from app.config.run import AppConfig
from app.config.workload import workload_name
from app.preflight.cohort_check import check_cohorts
from app.preflight.proposal import propose, recipe_of
from app.preflight.signal import signal_of
from app.preflight.simulation_check import check_simulation_nodes
from privacy.accounting.adversaries import Adversary, adversaries
from privacy.accounting.domination import transfer
from privacy.accounting.epsilon import Accountant, accountant, epsilon, pld_objection
from privacy.plan.plan import PrivacyPlan
from strategies.aggregation import SCALAR_BYTES
from strategies.codec.codec import Codec
from strategies.codec.compressed_codec import CompressedCodec
from strategies.codec.exact_codecs import FixedPointCodec
from strategies.registry import aggregation_of
from strategies.rounds.synchronisation import Delta
from strategies.secagg.crypto.prg import word_dtype
from workloads.base import Workload
from workloads.values import Arrays

# A client of so many records is to learn too, by updates of the learning rate's order.
_SMALL_CLIENT, _MOST_LOST = 100, 0.05


class PlanError(ValueError):
    """The run cannot be what it is meant to be. The message says why, and the mend."""


@dataclass(frozen=True)
class RunPlan:
    """A run on paper.

    Attributes
    ----------
    task, algorithm, aggregation, privacy : str
        The options.
    workload : str
        What is summed.
    num_rounds, num_parameters, num_trips : int
        Trips: requests to each node in order, the first keys included, if no attempt fails.
    spare_attempts : int
        Attempts that may fail and are paid for as well; 0 without privacy, where all may.
    bytes_down, bytes_up : int
        The model to a node and a contribution from it, a round, without keys and envelopes:
        the largest model and contribution that are known beforehand, where they differ from
        round to round; trees that grow count as they are at first.
        Where nodes follow the state, the last sum goes with the model.
    key_bytes : int
        What a node sends and receives in a round beside those, in a full cohort of a
        deployment; simulated nodes agree on smaller keys.
    bytes_up_first : int
        A contribution to the first round, where it is larger; else 0.
    bytes_down_first : int
        The model of the first round, and to a node that missed one, where it is larger; else 0.
    malicious_server : str
        What a server that breaks the protocol could learn, in words.
    work : str
        What the aggregation's own arithmetic takes, in words; empty where it is little.
    cohort_objection : str
        Why a cohort cannot be summed if all nodes are there; empty if it can.
    same_nodes : str
        What nodes with a policy require of who takes part, in words; empty for nothing.
    grid_objection : str
        Why updates would be lost in the grid; empty if they are not.
    guarantee : dict
        Unit, relation, delta, accountant, noise; empty for privacy=none. ``two_k_kappa`` is
        of ``privacy.accounting.domination``.
    adversaries : list of Adversary
        What each could learn.
    modulus : dict
        How the sum fits.
    """

    task: str
    algorithm: str
    workload: str
    aggregation: str
    privacy: str
    num_rounds: int
    spare_attempts: int
    num_parameters: int
    num_trips: int
    bytes_down: int
    bytes_up: int
    key_bytes: int
    malicious_server: str
    bytes_up_first: int = 0
    bytes_down_first: int = 0
    work: str = ""
    cohort_objection: str = ""
    same_nodes: str = ""
    grid_objection: str = ""
    guarantee: dict[str, Any] = field(default_factory=dict[str, Any])
    adversaries: list[Adversary] = field(default_factory=list[Adversary])
    modulus: dict[str, Any] = field(default_factory=dict[str, Any])

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON, which has no infinity: None stands for it."""
        return finite(asdict(self))


def plan_run(config: AppConfig, run_config: Mapping[str, Scalar] | None = None) -> RunPlan:
    """Return the plan of a run. No network, no records; loads torch to build the model.

    Parameters
    ----------
    config : AppConfig
        As composed.
    run_config : mapping, optional
        As given. With it the plan says in which keys what it proposes is given.

    Raises
    ------
    PlanError
        If the model is not admissible, or no noise keeps to epsilon and fits the modulus, or no
        cohort can be summed, or a node of a simulation would refuse.
    """
    try:
        workload = build_workload(config)
        workload.rehearse()
        num_parameters = workload.longest()
        private = config.privacy.private
        codec = build_codec(config, workload, num_parameters)
        objection = check_cohorts(config, codec)
        if private is None:
            check_simulation_nodes(config, None)
            found = _in_common(config, workload, codec, num_parameters)
            return replace(found, grid_objection=_grid_objection(config, workload))
        plan = privacy_plan(config, workload, num_parameters)
        check_simulation_nodes(config, plan)
        with naming_extremes(private):
            return replace(
                _in_common(config, workload, codec, num_parameters),
                cohort_objection=objection,
                guarantee=_guarantee(plan) | _how_it_steps(config, plan, workload, run_config),
                # So many are connected, or no cohort is drawn; more may never be.
                adversaries=adversaries(plan, config.rounds.min_clients),
                modulus=_modulus(plan),
            )
    # A model that is refused is a ValueError too.
    except ValueError as error:
        raise PlanError(str(error)) from None


def _in_common(config: AppConfig, workload: Workload, codec: Codec, length: int) -> RunPlan:
    """Return what every run has; ``length`` is that of a contribution's vector."""
    state = workload.asked(workload.largest_state())
    aggregation, private = config.aggregation, config.privacy.private
    scores_last = bool(private.metrics.every) if private else workload.scores
    trips = aggregation.num_trips * (config.num_rounds + scores_last)
    whole = sum(values.nbytes for values in state.arrays.values())
    bytes_down = _bytes_down(config, state.arrays) or whole
    bytes_first = _bytes_up(config, workload, codec, length)
    later = codec.settled if isinstance(codec, CompressedCodec) else codec
    bytes_up = _bytes_up(config, workload, later, length)
    cohort = _cohort(config)
    form = (later.length(length), later.bits(cohort))
    aggregation.check_update(form[1], form[0])
    is_followed = nodes_follow(config, workload) and trips > aggregation.num_trips
    return RunPlan(
        task=option_of(config, "task"),
        algorithm=option_of(config, "algorithm"),
        workload=workload_name(config.algorithm),
        aggregation=option_of(config, "aggregation"),
        privacy=option_of(config, "privacy"),
        num_rounds=config.num_rounds,
        spare_attempts=private.spare_attempts if private else 0,
        num_parameters=workload.longest(),
        num_trips=trips + aggregation.num_key_trips,
        bytes_down=bytes_down + is_followed * bytes_up,
        bytes_down_first=whole if bytes_down != whole else 0,
        bytes_up=bytes_up,
        bytes_up_first=bytes_first if bytes_first != bytes_up else 0,
        key_bytes=aggregation.key_bytes(cohort, *form),
        work=aggregation.work(*form, cohort),
        malicious_server=_malicious_server(config),
        same_nodes=_same_nodes(config) if is_followed else "",
    )


def _same_nodes(config: AppConfig) -> str:
    """Return what nodes require of who takes part in exact sums, with the mend."""
    least = config.aggregation.promised_survivors or "two thirds"
    return (
        "a node with a policy opens exact sums only over nodes that change by groups of"
        f" T={least}: who drops out of one cannot come back; with aggregation.min_survivors of"
        " all nodes the round is done again instead"
    )


def _malicious_server(config: AppConfig) -> str:
    """Return what a server that breaks the protocol could learn, with the mend."""
    aggregation = config.aggregation
    if aggregation_of(aggregation).sees_contributions:
        return "sees each contribution, as every server of this aggregation"
    if not aggregation.is_signed:
        return (
            "can open single inputs: it may invent clients and tell each node another story;"
            " aggregation.identities=true shuts it out"
        )
    if aggregation.is_sparse(None):
        return (
            "can surround a node with others that suit it; aggregation.graph=complete shuts it"
            " out"
        )
    return "one sum over T survivors in each attempt, or nothing"


def _cohort(config: AppConfig) -> int:
    """Return the nodes of a round as far as the configuration tells."""
    private = config.privacy.private
    population = private.population if private else config.rounds.min_clients
    return max(config.rounds.min_clients, ceil(population * config.rounds.cohort_fraction))


def _grid_objection(config: AppConfig, workload: Workload) -> str:
    """Return why updates of a small client would be lost, with the mend; empty if not."""
    codec = exact_codec(config, workload, workload.longest())
    rate = config.task.training.learning_rate
    if not isinstance(codec, FixedPointCodec) or _sends_floats(config, workload):
        return ""
    lost = codec.lost_below(_cohort(config), _SMALL_CLIENT)
    if lost <= _MOST_LOST * rate:
        return ""
    return (
        f"of a client with {_SMALL_CLIENT} records, entries of an update below {lost:.3g} are"
        f" lost, beside a learning rate of {rate:g}: raise aggregation.codec.modulus_bits, or"
        " lower its max_weight_examples to the records of the largest client"
    )


def _sends_floats(config: AppConfig, workload: Workload) -> bool:
    """Return whether contributions travel as they are, without a codec's grid."""
    is_seen = aggregation_of(config.aggregation).sees_contributions
    return is_seen and not node_encodes(config, workload)


def _bytes_down(config: AppConfig, arrays: Arrays) -> int:
    """Return the bytes of a change in eight bits a number; 0 for whole or exact changes.

    How far an exact one can be compressed is known when it is there: never above the whole.
    """
    if not config.rounds.is_incremental or config.rounds.delta is not Delta.int8:
        return 0
    # A step for each array, and two hashes.
    return sum(values.size + 8 for values in arrays.values()) + 64


def _bytes_up(config: AppConfig, workload: Workload, codec: Codec, length: int) -> int:
    """Return the bytes of a contribution on the wire, without keys and envelopes."""
    num_scalars = len(codec.scalar_names)
    if _sends_floats(config, workload):
        return length * np.dtype(np.float32).itemsize + SCALAR_BYTES * num_scalars
    bits = codec.bits(_cohort(config))
    if aggregation_of(config.aggregation).sees_contributions:
        # Only what is masked is packed.
        bits = 8 * word_dtype(bits).itemsize
    cohort, num_values = _cohort(config), codec.length(length)
    return config.aggregation.contribution_bytes(num_values, num_scalars, bits, cohort)


def _guarantee(plan: PrivacyPlan) -> dict[str, Any]:
    release, schedule = plan.update_release(), plan.schedule()
    by_pld = accountant(schedule) is Accountant.PLD
    return {
        "unit": str(release.unit),
        "neighbours": str(release.neighbours),
        # Against server and c participants, whom the plan reckons with.
        "epsilon": epsilon(schedule, plan.terms.delta),
        "delta": plan.terms.delta,
        "accountant": str(accountant(schedule)),
        # Part of every epsilon by PLD: what integers in place of real numbers cost.
        "two_k_kappa": transfer(schedule) if by_pld else 0.0,
        "no_pld_because": pld_objection(schedule),
        "mechanism": str(release.mechanism),
        "noise_multiplier": plan.noise_multiplier,
        "sampling_rate": release.sampling_rate,
        "num_releases": sum(one.times for one in plan.planned()),
        "releases": [
            {
                "name": one.name,
                "bound": one.bound,
                "noise_multiplier": one.noise_multiplier,
                "times": one.times,
                "modulus_bits": one.modulus_bits,
            }
            for one in plan.planned()
        ],
    }


def _how_it_steps(
    config: AppConfig,
    plan: PrivacyPlan,
    workload: Workload,
    run_config: Mapping[str, Scalar] | None,
) -> dict[str, Any]:
    """Return signal, step and proposal of a run whose sums are directions; else nothing."""
    recipe = recipe_of(config, plan)
    # A run that is resumed keeps its noise and its sampling.
    proposal = None if config.resume_from else propose(plan, workload)
    found: dict[str, Any] = {}
    if workload.sums_a_direction:
        signal = signal_of(plan)
        found["signal"] = asdict(signal) | {"is_noise": signal.is_noise}
    if recipe is not None:
        found["recipe"] = asdict(recipe) | {"objection": recipe.objection}
    if proposal is not None:
        told = asdict(proposal)
        if run_config is not None:
            told["run_config"] = proposal.in_place(run_config)
        if told.get("run_config") != "":
            found["proposal"] = told
    return found


def _modulus(plan: PrivacyPlan) -> dict[str, Any]:
    terms = plan.terms
    found: dict[str, Any] = {"modulus_bits": terms.modulus_bits, "fits": True}
    if plan.kept_scale > 1:
        found["num_kept"] = plan.num_kept
        # Of a sum's error: its noise is so many times as large, and so many squared lengths of
        # the sum itself come to it.
        found["noise_times"] = plan.kept_scale
        found["left_out"] = plan.kept_scale - 1
    if not terms.is_summed:
        return found
    found |= {"step": plan.step, "padded_dimension": plan.padded_dimension}
    if (wraps := plan.wrap_probability) is not None:
        found["wrap_probability"] = wraps
    return found
