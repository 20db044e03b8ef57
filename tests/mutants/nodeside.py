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
        (f"{_PART}::test_a_part_is_in_a_sum_that_the_node_has_helped_to_open",),
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

_PUBLISH = "tests/app/node/test_publishing.py"
_PUBLISHING = "app/node/publishing.py"
_VALUE = "tests/privacy/noise/test_bounded_value.py"
_BOUNDED = "privacy/noise/bounded_value.py"
_READ = "strategies/rounds/published.py"
_PASSED_OVER = ("tests/strategies/rounds/test_published.py::test_what_is_wrong_is_passed_over",)
_UNASKED = (f"{_PUBLISH}::test_nothing_is_published_unless_the_policy_says_so",)

_OF_WHAT_IS_PUBLISHED = (
    Mutation(
        "a-gain-has-less-noise-than-is-charged",
        _BOUNDED,
        "draw(release.mechanism, release.noise_scale, 1,",
        "draw(release.mechanism, 0.7 * release.noise_scale, 1,",
        (f"{_VALUE}::test_the_noise_has_the_scale_of_the_whole_range_over_epsilon",),
    ),
    Mutation(
        "the-range-of-a-gain-counts-half",
        _BOUNDED,
        "most = 2.0 * _FINENESS",
        "most = 1.0 * _FINENESS",
        (f"{_VALUE}::test_the_noise_has_the_scale_of_the_whole_range_over_epsilon",),
    ),
    Mutation(
        "a-gain-is-not-cut-to-its-range",
        _BOUNDED,
        "max(-bound, min(bound, kept))",
        "kept",
        (f"{_VALUE}::test_whatever_the_number_is_something_within_the_range_is_noised",),
    ),
    Mutation(
        "a-gain-that-is-no-number-is-refused",
        _BOUNDED,
        "value if math.isfinite(value) else 0.0",
        "value",
        (f"{_VALUE}::test_whatever_the_number_is_something_within_the_range_is_noised",),
    ),
    Mutation(
        "a-gain-is-charged-after-it-is-noised",
        _PUBLISHING,
        "    _charge(session, policy, ledger, release)\n"
        "    found = noised(gain.value, LARGEST_GAIN, release)\n",
        "    found = noised(gain.value, LARGEST_GAIN, release)\n"
        "    _charge(session, policy, ledger, release)\n",
        (f"{_PUBLISH}::test_it_is_charged_before_it_is_noised",),
    ),
    Mutation(
        "a-gain-is-published-again-and-again",
        _PUBLISHING,
        "session.run_id, _ROUND, _ATTEMPT, [release]",
        "session.run_id, _ROUND, None, [release]",
        (f"{_PUBLISH}::test_a_gain_is_that_of_the_nodes_own_records_and_charged_once",),
    ),
    Mutation(
        "a-gain-is-held-against-no-cap",
        _PUBLISHING,
        "    budget = policy.budget\n    spent = ledger.charge(",
        "    budget = None\n    spent = ledger.charge(",
        (f"{_PUBLISH}::test_what_the_cap_does_not_allow_is_not_published",),
    ),
    Mutation(
        "a-budget-is-published-unasked",
        _PUBLISHING,
        "    if policy.publish_budget:\n",
        "    if policy.budget is not None:\n",
        _UNASKED,
    ),
    Mutation(
        "whether-a-gain-is-published-depends-on-records",
        "app/round/own_contribution.py",
        "        return Gain(metric, math.nan)\n",
        "        return None\n",
        (f"{_PUBLISH}::test_whether_a_gain_is_published_does_not_depend_on_records",),
    ),
    Mutation(
        "figures-that-cannot-be-published-fail-the-round",
        _PUBLISHING,
        '    except Exception as error:\n            log.warning("the budget',
        '    except ZeroDivisionError as error:\n            log.warning("the budget',
        (f"{_PUBLISH}::test_what_fails_in_publishing_fails_no_round",),
    ),
    Mutation(
        "the-server-takes-any-figure",
        _READ,
        "type(value) is not float or not abs(value) < _LARGEST",
        "type(value) is not float",
        _PASSED_OVER,
    ),
    Mutation(
        "the-server-takes-figures-of-any-name",
        _READ,
        "if name not in _NAMES or type(value)",
        "if type(value)",
        _PASSED_OVER,
    ),
)

_PAGE = "tests/app/results/html/test_node_page.py"

_OF_WHO_READS_IT = (
    Mutation(
        "other-users-read-the-page-of-a-node",
        "app/results/html/files.py",
        "os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)",
        "os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)",
        (f"{_PAGE}::test_nobody_else_on_the_machine_can_read_it",),
    ),
    Mutation(
        "a-page-says-that-more-is-left-than-may-be-charged",
        "app/results/html/node_page.py",
        "    return Ledger(state, charges[-1].dataset).held(cap)\n",
        "    return spent_in_all(charges, cap.delta).epsilon\n",
        (f"{_PAGE}::test_what_is_left_is_what_the_node_would_publish",),
    ),
    Mutation(
        "what-is-held-cannot-be-told-after-the-owner-has-changed-delta",
        "privacy/ledger/ledger.py",
        "_require_within(past, held, partial(known_epsilon, connection))",
        "_require_within(past, held, partial(remembered_epsilon, connection))",
        (
            "tests/privacy/ledger/test_ledger.py"
            "::test_what_is_held_is_told_of_a_file_that_is_only_read",
        ),
    ),
    Mutation(
        "own-scores-that-cannot-be-read-fail-the-round",
        _NOTING,
        '    except Exception:\n        log.debug("own scores',
        '    except ZeroDivisionError:\n        log.debug("own scores',
        (f"{_OWN}::test_scores_that_cannot_be_read_fail_no_round",),
    ),
    Mutation(
        "a-gain-that-fails-loses-a-contribution",
        "app/round/client_side.py",
        '        except Exception:\n            log.warning("what this node gains',
        '        except ZeroDivisionError:\n            log.warning("what this node gains',
        (f"{_PUBLISH}::test_a_gain_that_cannot_be_worked_out_loses_no_contribution",),
    ),
    Mutation(
        "a-check-takes-a-policy-that-refuses-every-run",
        "app/preflight/node_check.py",
        "        found.gaps.append(told)\n    _identity(",
        "        pass\n    _identity(",
        (f"{_PUBLISH}::test_a_check_of_the_node_finds_what_would_refuse_every_run",),
    ),
    Mutation(
        "one-node-decides-what-all-gain",
        _READ,
        "    if abs(gain) > LARGEST_GAIN + _FARTHEST * noise:\n",
        "    if abs(gain) > _LARGEST:\n",
        _PASSED_OVER,
    ),
    Mutation(
        "a-gain-is-taken-with-any-noise",
        _READ,
        "    if not least / _SLACK <= noise <= most * _SLACK:\n",
        "    if noise <= 0:\n",
        _PASSED_OVER,
    ),
)

MUTATIONS = (
    *_OF_THE_OWN_REPORT,
    *_OF_ITS_PART,
    *_OF_WHAT_IS_PUBLISHED,
    *_OF_WHO_READS_IT,
)
