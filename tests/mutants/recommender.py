"""The recommender: a user's term, a node's, and what is said of items that few have rated."""

from tests.mutants.mutation import Mutation

_NOISED, _ALS = "workloads/als/noised.py", "workloads/als/als.py"
_USERS = "workloads/als/users.py"
_BOUND, _EXACT, _HOSTILE = (
    f"tests/workloads/als/test_{name}.py" for name in ("bound", "exact", "hostile")
)

MUTATIONS = (
    Mutation(
        "a-user-with-many-ratings-counts-more",
        _NOISED,
        "square = triples.per_user(rest * rest + _COUNT**2)",
        "square = triples.per_user(rest * rest + _COUNT**2) / some",
        (f"{_BOUND}::test_no_users_term_is_longer_than_the_bound",),
    ),
    Mutation(
        "the-mean-is-not-in-the-bound",
        _NOISED,
        "weight = sqrt(1 - 2 * _MEAN**2)",
        "weight = 1.0",
        (f"{_BOUND}::test_a_search_over_ratings_finds_none_that_is_longer_and_comes_near",),
    ),
    Mutation(
        "a-node-of-many-users-counts-as-many",
        _ALS,
        "one_term(own, self.bound()).bounded",
        "one_term(own, 4 * self.bound()).bounded",
        (
            f"{_BOUND}::test_a_client_of_many_users_is_cut_to_the_bound_and_one_of_one_user_is_not",
        ),
    ),
    Mutation(
        "items-that-few-have-rated-are-told",
        _ALS,
        "other._silent = rated < least",
        "other._silent = rated < 1",
        (f"{_HOSTILE}::test_a_node_is_silent_about_items_that_few_of_its_users_have_rated",),
    ),
    Mutation(
        "a-silenced-rating-moves-its-users-factors",
        _ALS,
        "self._users(items, triples), triples)",
        "self._users(items, Triples.of(records.train.inputs)), triples)",
        (f"{_HOSTILE}::test_a_rating_of_a_silenced_item_is_in_no_sum",),
    ),
    Mutation(
        "a-node-fails-on-who-has-rated-what",
        _USERS,
        "np.clip(np.nan_to_num(found, nan=0.0), -1.0, 1.0)",
        "np.clip(found, -1.0, 1.0)",
        (f"{_HOSTILE}::test_no_state_makes_an_answer_fail_on_who_has_rated_what",),
    ),
    Mutation(
        "a-states-factors-overflow-the-sums",
        _USERS,
        "return [np.clip(np.nan_to_num(each, nan=0.0), -LARGEST, LARGEST) for each in solved]",
        "return [np.nan_to_num(each, nan=0.0) for each in solved]",
        (f"{_HOSTILE}::test_no_entry_of_a_rating_is_larger_than_what_fits",),
    ),
    Mutation(
        "a-rating-beyond-its-bounds-is-taken",
        "tasks/ratings/reading.py",
        "if not config.min_rating <= rating <= config.max_rating:",
        "if False:",
        ("tests/tasks/ratings/test_reading.py",),
    ),
    Mutation(
        "a-column-of-memory-is-saved-as-a-row",
        "app/results/model_file.py",
        "return {name: np.ascontiguousarray(values) for name, values in arrays.items()}",
        "return dict(arrays)",
        (f"{_EXACT}::test_masked_and_plain_runs_over_uneven_nodes_end_at_the_same_bits",),
    ),
)
