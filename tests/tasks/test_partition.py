"""Every scheme splits the records into disjoint parts that cover them all."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks import partition as dealing
from tasks.base import DataSource
from tasks.partition import hold_out, local_part, partition
from tasks.records import DataError, Examples, LocalData
from tasks.schema import PartitionConfig, Scheme

RANDOM_SCHEMES = [Scheme.iid, Scheme.dirichlet, Scheme.size_skew]


def labels(num_records: int = 400, num_classes: int = 4) -> np.ndarray:
    return np.arange(num_records) % num_classes


def numbered(num_records: int) -> Examples:
    """Examples that carry their own index, so that tests can tell them apart."""
    inputs = np.arange(num_records, dtype=np.float32)[:, np.newaxis]
    return Examples(inputs, labels(num_records))


def as_lists(parts: list[np.ndarray]) -> list[list[int]]:
    return [part.tolist() for part in parts]


@settings(deadline=None)
@given(
    scheme=st.sampled_from(RANDOM_SCHEMES),
    alpha=st.floats(0.001, 1000),
    num_partitions=st.integers(1, 12),
    min_examples=st.integers(1, 8),
    spare=st.integers(0, 200),
    num_classes=st.integers(1, 5),
    seed=st.integers(0, 2**32),
)
def test_parts_are_disjoint_cover_all_and_are_large_enough(
    scheme, alpha, num_partitions, min_examples, spare, num_classes, seed
):
    # spare = 0 is the tightest case: every part must get exactly min_examples.
    targets = labels(num_partitions * min_examples + spare, num_classes)
    config = PartitionConfig(scheme, alpha, min_examples)
    parts = partition(targets, num_partitions, config, seed)
    assert len(parts) == num_partitions
    # A record that is missing or given twice would show in the sorted list.
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(targets)))
    assert min(len(part) for part in parts) >= min_examples
    # As another process would, which has kept nothing.
    dealing._dealt.cache_clear()
    assert as_lists(parts) == as_lists(partition(targets, num_partitions, config, seed))


def test_parts_that_are_kept_are_those_of_the_same_labels_and_nobody_changes_them():
    config = PartitionConfig(Scheme.dirichlet)
    parts = [partition(np.roll(labels(), places), 4, config, 0) for places in (0, 1, 0)]
    assert as_lists(parts[0]) == as_lists(parts[2]) != as_lists(parts[1])
    with pytest.raises(ValueError, match="read-only"):
        parts[0][0][0] = 7


@pytest.mark.parametrize("scheme", RANDOM_SCHEMES)
def test_another_seed_gives_another_partition(scheme):
    config = PartitionConfig(scheme)
    first, second = (partition(labels(), 4, config, seed) for seed in (0, 1))
    assert as_lists(first) != as_lists(second)


def test_iid_parts_are_equal_in_size_and_mixed():
    parts = partition(labels(402), 4, PartitionConfig(Scheme.iid), 0)
    assert sorted(len(part) for part in parts) == [100, 100, 101, 101]
    for part in parts:
        assert np.bincount(labels(402)[part], minlength=4).min() > 10


def test_small_alpha_skews_labels_under_dirichlet_only():
    def largest_class_share(scheme: Scheme, alpha: float) -> float:
        parts = partition(labels(4000), 5, PartitionConfig(scheme, alpha), 0)
        shares = [np.bincount(labels(4000)[part]).max() / len(part) for part in parts]
        return float(np.mean(shares))

    assert largest_class_share(Scheme.dirichlet, 0.05) > 0.7
    assert largest_class_share(Scheme.dirichlet, 1000) < 0.35
    assert largest_class_share(Scheme.size_skew, 0.5) < 0.4


def test_small_alpha_skews_sizes_under_size_skew():
    def sizes(alpha: float) -> list[int]:
        parts = partition(labels(4000), 5, PartitionConfig(Scheme.size_skew, alpha), 0)
        return sorted(len(part) for part in parts)

    assert sizes(0.3)[-1] > 3 * sizes(0.3)[0]
    assert sizes(10000)[-1] < 1.1 * sizes(10000)[0]


def test_min_examples_lifts_parts_that_would_be_empty():
    # So small an alpha gives one client nearly everything.
    config = PartitionConfig(Scheme.size_skew, 0.001, min_examples=7)
    sizes = sorted(len(part) for part in partition(labels(), 5, config, 3))
    assert sizes[0] == 7
    assert sum(sizes) == 400


def test_natural_gives_each_client_one_group():
    groups = np.array([2, 0, 1, 0, 2, 2])
    parts = partition(labels(6), 3, PartitionConfig(Scheme.natural), 0, groups)
    assert as_lists(parts) == [[1, 3], [2], [0, 4, 5]]


def test_natural_needs_groups():
    with pytest.raises(DataError, match=r"scheme=natural: this data set has no groups"):
        partition(labels(), 4, PartitionConfig(Scheme.natural), 0)


def test_natural_needs_as_many_clients_as_groups():
    groups = np.arange(400) % 3
    with pytest.raises(DataError, match=r"3 groups but there are 4 clients; start 3"):
        partition(labels(), 4, PartitionConfig(Scheme.natural), 0, groups)


@pytest.mark.parametrize("scheme", RANDOM_SCHEMES)
def test_too_few_records_are_refused(scheme):
    config = PartitionConfig(scheme, min_examples=10)
    assert len(partition(labels(40), 4, config, 0)) == 4
    with pytest.raises(DataError, match=r"39 records .* 4 clients .*min_examples=10"):
        partition(labels(39), 4, config, 0)


@pytest.mark.parametrize("dtype", [np.float32, bool, str, object])
def test_dirichlet_refuses_targets_that_are_no_classes(dtype):
    with pytest.raises(DataError, match=r"scheme=dirichlet .* use iid or size_skew"):
        partition(labels().astype(dtype), 4, PartitionConfig(Scheme.dirichlet), 0)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"alpha": 0.0}, "alpha=0.0: must be above 0"),
        ({"alpha": float("nan")}, "alpha=nan"),
        ({"alpha": float("inf")}, "alpha=inf"),
        ({"min_examples": 0}, "min_examples=0: must be at least 1"),
    ],
)
def test_config_refuses_what_cannot_be(keys, message):
    with pytest.raises(ValueError, match=f"task.partition.{message}"):
        PartitionConfig(**keys)


def in_test(data: LocalData) -> set[float]:
    return set(data.test.inputs[:, 0].tolist())


@settings(deadline=None)
@given(
    num_records=st.integers(0, 200),
    test_fraction=st.floats(0, 1, exclude_max=True),
    seed=st.integers(0, 2**63 - 1),
)
def test_hold_out_is_disjoint_complete_and_repeatable(num_records, test_fraction, seed):
    data = hold_out(numbered(num_records), test_fraction, seed)
    both = np.concatenate([data.train.inputs, data.test.inputs])[:, 0]
    assert sorted(both.tolist()) == list(range(num_records))
    for part in (data.train, data.test):
        assert np.array_equal(part.inputs[:, 0] % 4, part.targets)
    again = hold_out(numbered(num_records), test_fraction, seed)
    assert np.array_equal(data.train.inputs, again.train.inputs)
    assert np.array_equal(data.test.inputs, again.test.inputs)


@settings(deadline=None)
@given(
    num_records=st.integers(1, 60),
    test_fraction=st.floats(0.05, 0.95),
    seed=st.integers(0, 2**32),
    data=st.data(),
)
def test_a_records_side_depends_on_no_other_record(num_records, test_fraction, seed, data):
    kept = data.draw(st.lists(st.integers(0, num_records - 1), min_size=1))
    whole = in_test(hold_out(numbered(num_records), test_fraction, seed))
    # Any order, any of the records, some of them twice.
    some = hold_out(numbered(num_records).take(np.array(kept)), test_fraction, seed)
    assert in_test(some) == whole & set(kept)
    assert len(some.test) == sum(index in whole for index in kept)


def test_inputs_and_target_both_count():
    same_inputs = Examples(np.zeros((2000, 1), np.float32), np.arange(2000))
    same_targets = Examples(np.arange(2000, dtype=np.float32)[:, None], np.zeros(2000))
    for examples in (same_inputs, same_targets):
        assert 800 < len(hold_out(examples, 0.5, 0).test) < 1200


def test_the_share_held_out_is_about_the_fraction():
    # Fixed seeds, so it fails always or never; 5 standard deviations of 20,000 draws.
    for seed, fraction in enumerate((0.01, 0.2, 0.5, 0.9)):
        num_test = len(hold_out(numbered(20_000), fraction, seed).test)
        assert abs(num_test - 20_000 * fraction) < 5 * np.sqrt(20_000 * fraction)
    assert len(hold_out(numbered(20_000), 0.0, 0).test) == 0


def test_another_seed_holds_out_others():
    first, second = (in_test(hold_out(numbered(2000), 0.2, seed)) for seed in (0, 1))
    # Independent sides share 4% of the records, not 20%.
    assert 30 < len(first & second) < 140


def test_the_split_stays_what_it_was():
    # Written down: another split would score a node's model on records it was trained on.
    assert sorted(in_test(hold_out(numbered(30), 0.2, 7))) == [3, 9, 14, 18]


@pytest.mark.parametrize("num_records", [0, 1])
def test_a_side_of_few_records_may_be_empty(num_records):
    data = hold_out(numbered(num_records), 0.5, 0)
    assert len(data.train) + len(data.test) == num_records


def test_local_parts_of_all_nodes_are_the_data_set_once():
    seen: list[float] = []
    for partition_id in range(3):
        source = DataSource(partition_id, 3)
        data = local_part(numbered(100), source, PartitionConfig(), 0.2, 5)
        seen += [*data.train.inputs[:, 0], *data.test.inputs[:, 0]]
        # Inputs and targets must still belong together.
        assert np.array_equal(data.train.inputs[:, 0] % 4, data.train.targets)
    assert sorted(seen) == list(range(100))
