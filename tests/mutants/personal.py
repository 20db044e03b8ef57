"""What of a model stays on its node, and on which device a node computes."""

from tests.mutants.mutation import Mutation

_MARKED = "tasks/training/personal.py"
_KEPT = "app/node/personal.py"
_NAMES = "tests/tasks/training/test_personal.py"
_NODES = "tests/app/node/test_personal.py"
_FILES = "tests/app/node/test_personal_files.py"
_DEVICES = "tests/tasks/training/test_device.py"

MUTATIONS = (
    Mutation(
        "a-part-stays-on-the-node-where-records-are-hidden",
        "app/config/rules.py",
        "        not mode.hides_records,\n",
        "        True,\n",
        (f"{_NAMES}::test_where_records_are_hidden_nothing_stays",),
    ),
    Mutation(
        "what-stays-on-the-node-is-exchanged",
        _MARKED,
        "_trained(model).items() if name not in personal}",
        "_trained(model).items()}",
        (f"{_NAMES}::test_the_head_is_in_nothing_that_is_exchanged",),
    ),
    Mutation(
        "the-proximal-term-holds-what-is-not-shared",
        "tasks/training/local.py",
        "list(exchanged(model).values()) if proximal_mu",
        "list(model.parameters()) if proximal_mu",
        (f"{_NAMES}::test_the_proximal_term_is_over_what_is_shared",),
    ),
    Mutation(
        "a-repeated-attempt-trains-the-nodes-own-part-further",
        _KEPT,
        "_BEFORE if kept.told[_BEFORE] == asked else _AFTER",
        "_AFTER",
        (f"{_NODES}::test_an_attempt_that_is_repeated_trains_from_the_same_head",),
    ),
    Mutation(
        "a-fresh-run-goes-on-with-an-older-runs-part",
        _KEPT,
        "request.query.server_round == 1 and not goes_on",
        "request.query.server_round == 0 and not goes_on",
        (f"{_NODES}::test_a_run_that_begins_afresh_has_a_fresh_head",),
    ),
    Mutation(
        "a-model-is-completed-with-a-part-of-another-run",
        _KEPT,
        "_is_open(one) and one.round == num_rounds]",
        "one.round == num_rounds]",
        (f"{_FILES}::TestFile::test_a_node_of_another_run_is_refused",),
    ),
    Mutation(
        "a-part-that-diverged-is-kept",
        _KEPT,
        "        after = before\n",
        "",
        (f"{_NODES}::test_a_head_that_diverged_is_not_kept",),
    ),
    Mutation(
        "one-data-sets-part-goes-with-another-data-set",
        _KEPT,
        '        "dataset": session.dataset,\n',
        "",
        (f"{_NODES}::test_what_one_data_set_has_trained_goes_with_no_other",),
    ),
    Mutation(
        "a-part-is-guessed-among-several-runs",
        _KEPT,
        "return found[0] if len(found) == 1 else None",
        "return found[0] if found else None",
        (f"{_NODES}::test_of_runs_that_showed_no_last_model_none_is_guessed",),
    ),
    Mutation(
        "a-node-without-the-gpu-asked-for-is-charged-first",
        "app/round/client_side.py",
        "        tell_device(self._session, request.workload.device())\n",
        "",
        (f"{_DEVICES}::test_a_node_refuses_before_it_charges",),
    ),
)
