"""Updates in few bits: that their sums are right on average, cannot wrap, and agree."""

from tests.mutants.mutation import Mutation

_STAGES = "strategies/codec/compression.py"
_CODEC = "strategies/codec/compressed_codec.py"
_PROJECTION = "privacy/bounding/projection.py"
_TESTS = "tests/strategies/codec/test_compression.py"
_REPEATED = (
    "tests/strategies/masked/test_compressed_runs.py"
    "::test_a_node_adds_what_it_left_out_once_also_where_an_attempt_is_repeated"
)
_WHOLE = f"{_TESTS}::test_the_whole_is_unbiased"

MUTATIONS = (
    Mutation(
        "a-sum-in-few-bits-wraps",
        _STAGES,
        "(num_contributions * self.levels).bit_length() + 1",
        "(num_contributions * self.levels).bit_length()",
        (f"{_TESTS}::test_no_sum_of_a_full_cohort_wraps_and_no_fewer_bits_would_do",),
    ),
    Mutation(
        "values-are-rounded-by-no-coin",
        _STAGES,
        "rounded = dithered(within * self.levels, secure_generator())",
        "rounded = np.rint(within * self.levels).astype(np.int64)",
        (f"{_TESTS}::test_rounding_is_unbiased_by_the_exact_chances_of_its_two_values",),
    ),
    Mutation(
        "what-is-kept-counts-for-itself-alone",
        _CODEC,
        "else size / kept",
        "else 1.0",
        (_WHOLE,),
    ),
    Mutation(
        "the-same-entries-are-kept-in-every-sum",
        _PROJECTION,
        "hashlib.shake_256(_DOMAIN + seed)",
        "hashlib.shake_256(_DOMAIN)",
        (
            f"{_TESTS}::test_kept_entries_are_a_random_set_of_their_size_and_the_same_for_the_same_seed",
        ),
    ),
    Mutation(
        "a-server-says-any-range",
        _CODEC,
        "if not all(SMALLEST_RANGE <= one <= LARGEST_RANGE for one in ranges):",
        "if not all(ranges):",
        (f"{_TESTS}::test_ranges_that_are_none_are_refused",),
    ),
    Mutation(
        "a-mean-square-of-one-entry",
        _CODEC,
        "return found if min(found) >= SHORTEST_PART else (self.dimension,)",
        "return found",
        (f"{_TESTS}::test_no_mean_square_is_of_so_few_entries_that_it_tells_of_single_nodes",),
    ),
    Mutation(
        "what-was-left-out-comes-back-twice",
        "app/node/left_out.py",
        "_BEFORE if kept.round == number else _AFTER",
        "_AFTER",
        (_REPEATED,),
    ),
    Mutation(
        "a-delta-leads-to-any-model",
        "strategies/rounds/synchronisation.py",
        "if digest_of(after) != names[1]:",
        "if not names[1]:",
        (
            "tests/strategies/rounds/test_deltas.py::test_a_delta_that_leads_elsewhere_is_refused",
        ),
    ),
    Mutation(
        "a-delta-unpacks-to-any-length",
        "strategies/rounds/deltas.py",
        "if len(found) != size or not stream.eof or stream.unused_data:",
        "if len(found) < size:",
        (
            "tests/strategies/rounds/test_deltas.py"
            "::test_an_exact_delta_of_other_arrays_is_refused",
        ),
    ),
    Mutation(
        "entries-beyond-the-range-are-sent",
        _STAGES,
        "within = np.clip(passing.vector, -1.0, 1.0)",
        "within = np.clip(passing.vector, -2.0, 2.0)",
        (f"{_TESTS}::test_no_sum_of_a_full_cohort_wraps_and_no_fewer_bits_would_do",),
    ),
)
