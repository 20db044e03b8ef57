"""What the report of a run keeps to itself, and what it must not do to the run."""

from tests.mutants.mutation import Mutation

_ROBUST = "tests/app/results/html/test_robust.py"
_OBSERVER = "tests/app/results/html/test_observer.py"
_TEXT = f"{_ROBUST}::test_what_others_write_is_text_and_never_markup"
_PSEUDONYMS = f"{_ROBUST}::test_nodes_go_by_pseudonyms_that_are_the_same_in_every_drawing"

MUTATIONS = (
    Mutation(
        "a-report-takes-texts-for-markup",
        "app/results/html/templates.py",
        "autoescape=True,",
        "autoescape=False,",
        (_TEXT,),
    ),
    Mutation(
        "a-figure-takes-its-description-for-markup",
        "app/results/html/svg.py",
        'aria-label="{escape(alt)}"',
        'aria-label="{alt}"',
        (_TEXT,),
    ),
    Mutation(
        "a-report-names-nodes",
        "app/results/html/gather.py",
        'return self._known.setdefault(node, f"node {len(self._known) + 1}")',
        'return self._known.setdefault(node, f"node {node}")',
        (_PSEUDONYMS,),
    ),
    Mutation(
        "the-reason-of-a-failure-names-nodes",
        "app/results/html/gather.py",
        'summary["reason"] = names.in_text(str(summary["reason"]))',
        'summary["reason"] = str(summary["reason"])',
        (_PSEUDONYMS,),
    ),
    Mutation(
        "a-hidden-count-is-drawn",
        "app/results/html/score_figures.py",
        "text = number(None if count is None else round(count))",
        'text = number(round(row["recall"] * total if count is None else count))',
        (f"{_ROBUST}::test_hidden_counts_of_a_confusion_matrix_stay_hidden",),
    ),
    Mutation(
        "a-resumed-run-shows-the-result-of-its-end-before",
        "app/results/html/gather.py",
        "has_ended = status in (COMPLETED, STOPPED_EARLY)",
        "has_ended = status in (COMPLETED, STOPPED_EARLY, RUNNING)",
        (f"{_ROBUST}::test_a_run_that_goes_on_shows_no_result_of_its_end_before",),
    ),
    Mutation(
        "a-drawing-that-fails-ends-the-run",
        "app/results/html/observer.py",
        'log.warning("report.html is not written: %s", error)',
        "raise",
        (f"{_OBSERVER}::test_what_fails_in_drawing_is_a_warning_and_ends_no_run",),
    ),
    Mutation(
        "drawing-takes-all-the-time-there-is",
        "app/results/html/observer.py",
        "waits = max(_LEAST_SECONDS, self._cost_seconds / _SHARE)",
        "waits = _LEAST_SECONDS",
        (f"{_OBSERVER}::test_drawing_takes_a_twentieth_of_the_time_at_most",),
    ),
)
