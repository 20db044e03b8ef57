"""What a run may begin with, which models a node takes, and what a registry's entry covers."""

from tests.mutants.mutation import Mutation

_LINEAGE = "app/node/lineage.py"
_STARTING = "app/results/starting_model.py"
_TESTS = "tests/app/results/test_starting_model.py"
_BOUNDS = (f"{_TESTS}::test_columns_are_compared_with_their_bounds_and_order",)

_OF_INITIAL_MODELS = (
    Mutation(
        "an-initial-models-epsilon-is-not-added",
        _LINEAGE,
        "epsilon=sum(one.epsilon for one in known)",
        "epsilon=max(one.epsilon for one in known)",
        (f"{_TESTS}::test_epsilons_add",),
    ),
    Mutation(
        "an-initial-model-without-privacy-is-covered",
        _LINEAGE,
        "    if without:\n",
        "    if without == len(spent):\n",
        (f"{_TESTS}::test_a_model_without_privacy_is_warned_of",),
    ),
    Mutation(
        "an-initial-model-with-other-bounds-is-taken",
        _STARTING,
        "    if before != now:\n",
        "    if before.keys() != now.keys():\n",
        _BOUNDS,
    ),
    Mutation(
        "an-initial-model-with-columns-in-another-order-is-taken",
        _STARTING,
        'if key != "task" and [*mine] != [*others]:',
        'if key != "task" and {*mine} != {*others}:',
        _BOUNDS,
    ),
    Mutation(
        "a-model-that-has-changed-begins-a-resumed-run",
        _STARTING,
        "        if start.record != record:\n",
        "        if start.record.path != record.path:\n",
        (f"{_TESTS}::test_a_run_that_had_no_round_begins_with_the_same_model_or_not_at_all",),
    ),
    Mutation(
        "records-that-were-trained-on-score-the-next-run",
        _STARTING,
        "    if model.seed != config.seed:\n",
        "    if model.seed is None:\n",
        (f"{_TESTS}::test_a_model_of_another_task_is_refused",),
    ),
)

MUTATIONS = _OF_INITIAL_MODELS
