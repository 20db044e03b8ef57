"""What a node keeps for its owner, tells about itself, and lets others see of it."""

from tests.mutants.mutation import Mutation

_OWN = "tests/app/node/test_own_report.py"
_NOTING = "app/node/noting.py"
_REPORT = "app/node/own_report.py"

_OF_THE_OWN_REPORT = (
    Mutation(
        "a-report-that-cannot-be-written-fails-the-round",
        _NOTING,
        "    except Exception as error:\n        log.warning(",
        "    except ZeroDivisionError as error:\n        log.warning(",
        (f"{_OWN}::test_a_report_that_cannot_be_written_fails_no_round",),
    ),
    Mutation(
        "a-node-waits-long-for-its-own-report",
        _REPORT,
        "with transaction(self._path, _SCHEMA, _BUSY_SECONDS) as database:\n"
        "            database.execute(_ADD_RUN",
        "with transaction(self._path, _SCHEMA) as database:\n"
        "            database.execute(_ADD_RUN",
        (f"{_OWN}::test_a_file_that_somebody_holds_fails_no_round",),
    ),
    Mutation(
        "own-scores-leave-with-the-reply",
        "app/client.py",
        "    note_answer(session, message, reply,",
        "    if session is not None and session.own_report is not None:\n"
        "        from flwr.app import MetricRecord\n\n"
        "        reply.content['own'] = MetricRecord(session.noted.metrics)\n"
        "    note_answer(session, message, reply,",
        (f"{_OWN}::test_nothing_of_it_leaves",),
    ),
    Mutation(
        "runs-are-kept-for-ever",
        _REPORT,
        "kept = KEPT_ROUNDS, KEPT_REFUSALS, KEPT_RUNS",
        "kept = KEPT_ROUNDS, KEPT_REFUSALS, 2**31",
        (f"{_OWN}::test_it_is_bounded",),
    ),
    Mutation(
        "a-run-that-is-refused-is-kept-among-the-runs",
        _NOTING,
        "            report.note_refusal(session.run_id, kind, str(reply.error.reason))\n"
        "            return\n",
        "            report.note_refusal(session.run_id, kind, str(reply.error.reason))\n",
        (f"{_OWN}::test_a_refusal_is_kept_and_its_run_is_not",),
    ),
)

_PART = "tests/app/round/test_own_contribution.py"
_CONTRIBUTION = "app/round/own_contribution.py"
_MEAN = f"{_PART}::test_the_model_without_a_node_is_the_mean_of_all_others"

_OF_ITS_PART = (
    Mutation(
        "a-node-takes-its-part-out-without-its-weight",
        "workloads/own_part.py",
        "(weight * mean - own.total) / rest",
        "(weight * mean - own.total) / weight",
        (_MEAN,),
    ),
    Mutation(
        "a-part-that-is-in-no-sum-is-taken-out",
        _CONTRIBUTION,
        "return record is not None and record.stage is Stage.REVEALED",
        "return record is not None",
        (f"{_PART}::test_a_part_that_is_in_no_sum_is_not_taken_out",),
    ),
    Mutation(
        "a-weight-that-a-server-makes-up-is-divided-by",
        "workloads/own_part.py",
        "own.weight > 0 and rest > 1e-9 * weight",
        "own.weight > 0",
        (f"{_PART}::test_a_weight_that_a_server_makes_up_is_refused",),
    ),
    Mutation(
        "what-a-part-is-worth-fails-a-round",
        _CONTRIBUTION,
        '    except Exception:\n        log.warning("what this node adds',
        '    except ZeroDivisionError:\n        log.warning("what this node adds',
        (f"{_PART}::test_what_fails_in_it_fails_no_round",),
    ),
    Mutation(
        "an-optimiser-with-a-memory-is-taken-for-a-mean",
        _CONTRIBUTION,
        'if not getattr(config.algorithm, "steps_by_mean", False):',
        "if False:",
        (f"{_PART}::test_where_it_cannot_be_told_it_says_why",),
    ),
)

MUTATIONS = (*_OF_THE_OWN_REPORT, *_OF_ITS_PART)
