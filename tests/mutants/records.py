"""How records are read: each alone, and none with a say in what becomes of another."""

from tests.mutants.mutation import Mutation

_CSV = "tests/tasks/csv/test_by_line.py"
_LINES = ("tests/tasks/test_lines.py",)

MUTATIONS = (
    Mutation(
        "an-open-quote-swallows-the-record-after-it",
        "tasks/csv/encoding.py",
        "    if by_line:\n",
        "    if not config:\n",
        (f"{_CSV}::test_a_line_break_in_quotes_makes_two_lines_that_do_not_fit",),
    ),
    Mutation(
        "a-row-that-does-not-fit-refuses-a-private-run",
        "tasks/csv/encoding.py",
        '("" if by_line else summary.refusal)',
        "summary.refusal",
        (f"{_CSV}::test_a_stray_quote_takes_its_own_row_alone",),
    ),
    Mutation(
        "nobody-is-told-that-no-record-fits",
        "tasks/csv/task.py",
        '        _LOGGER.warning("%s", warning)\n',
        '        _LOGGER.debug("%s", warning)\n',
        (f"{_CSV}::test_all_that_does_not_fit_is_said_loudly_in_the_nodes_own_log",),
    ),
    Mutation(
        "a-byte-that-is-not-utf8-fails-the-file",
        "tasks/lines.py",
        'errors="surrogateescape"',
        'errors="strict"',
        _LINES,
    ),
    Mutation(
        "a-line-may-be-of-any-length",
        "tasks/lines.py",
        "stream.readline(LONGEST_LINE + 1)",
        "stream.readline()",
        _LINES,
    ),
    Mutation(
        "no-equal-record-is-trained-on",
        "tasks/heart_split.py",
        "digest not in seen and _is_held_out(digest)",
        "_is_held_out(digest)",
        ("tests/tasks/test_heart.py::test_of_equal_records_one_is_held_out",),
    ),
)
