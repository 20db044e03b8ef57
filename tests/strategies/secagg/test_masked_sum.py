"""The running sum of masked inputs: what stays in it, what comes out, and what a disk holds."""

import errno
import hashlib
import os
import random
import tracemalloc
from itertools import combinations

import numpy as np
import pytest

from strategies.secagg.crypto import shamir
from strategies.secagg.crypto.prg import reduce_modulus, word_dtype
from strategies.secagg.fields import AttemptId
from strategies.secagg.messages import MaskedInput
from strategies.secagg.packing import pack
from strategies.secagg.server import masked_sum
from strategies.secagg.server.masked_sum import MaskedSum
from strategies.secagg.server.outcome import AbandonedError
from strategies.secagg.server.recovery import blocks
from tests.strategies.secagg.world import LARGER, PARAMETERS, RUN, World, binding_for, ok

ATTEMPT = AttemptId(RUN, 1, 0)


def inputs(number: int, length: int, bits: int) -> list[tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(bits)
    return [
        (
            rng.integers(0, 1 << bits, length, dtype=np.uint64, endpoint=False).astype(
                word_dtype(bits)
            )
            if bits < 64
            else rng.integers(0, 2**64, length, dtype=np.uint64),
            rng.integers(0, 2**64, 3, dtype=np.uint64),
        )
        for _ in range(number)
    ]


def message(vector: np.ndarray, scalars: np.ndarray, bits: int) -> MaskedInput:
    data = scalars.astype("<u8").tobytes()
    return MaskedInput(ATTEMPT, bits, len(vector), pack(vector, bits), data, (), None, b"")


def added(given, bits: int, left_out=()) -> tuple[np.ndarray, np.ndarray]:
    """Add them up after all have come, as whole vectors."""
    kept = [one for at, one in enumerate(given) if at not in left_out]
    total = np.zeros(len(given[0][0]), word_dtype(bits))
    scalars = np.zeros(3, np.uint64)
    for vector, more in kept:
        total += vector
        scalars += more
    reduce_modulus(total, bits)
    return total, scalars


@pytest.mark.parametrize("bits", [8, 13, 20, 32, 61, 64])
@pytest.mark.parametrize("in_memory", [True, False])
@pytest.mark.parametrize("length", [0, 70_003])
def test_who_is_taken_out_late_was_never_in_it(bits, length, in_memory, monkeypatch):
    monkeypatch.setattr(masked_sum, "MEMORY_BYTES", 1 << 40 if in_memory else 1)
    given = inputs(5, length, bits)
    for left_out in [(), (3, 0, 2)]:
        total = MaskedSum(bits, length, 2)
        for node, (vector, scalars) in enumerate(given):
            total.add(100 + node, message(vector, scalars, bits))
        for node in left_out:
            total.take_out(100 + node)
        update, scalars = total.opened()
        reduce_modulus(update, bits)
        due, due_scalars = added(given, bits, left_out)
        np.testing.assert_array_equal(update, due)
        np.testing.assert_array_equal(scalars, due_scalars)


def test_the_file_has_no_name_and_holds_what_was_sent_alone(monkeypatch, tmp_path):
    """Nothing is left after a crash, and a disk shows no more than the wire."""
    monkeypatch.setattr(masked_sum, "MEMORY_BYTES", 1)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    given, total = inputs(3, 1000, 20), MaskedSum(20, 1000, 2)
    sent = b""
    for node, (vector, scalars) in enumerate(given):
        one = message(vector, scalars, 20)
        total.add(node, one)
        sent += bytes(one.update) + one.scalars
    total._kept._file.flush()
    assert list(tmp_path.iterdir()) == []
    file = total._kept._file.fileno()
    assert os.fstat(file).st_nlink == 0
    assert os.pread(file, len(sent) + 1, 0) == sent
    total.take_out(1)
    total.opened()
    with pytest.raises(OSError, match=os.strerror(errno.EBADF)):
        os.fstat(file)


def test_a_sum_that_is_dropped_closes_its_file(monkeypatch):
    monkeypatch.setattr(masked_sum, "MEMORY_BYTES", 1)
    total = MaskedSum(20, 100, 2)
    total.add(1, message(*inputs(1, 100, 20)[0], 20))
    file = total._kept._file.fileno()
    del total
    with pytest.raises(OSError, match=os.strerror(errno.EBADF)):
        os.fstat(file)


def test_a_full_disk_ends_the_attempt_and_names_the_mend(monkeypatch):
    world = World(PARAMETERS)
    server = world.ready(ATTEMPT)
    server.bind_masks(binding_for())
    first, second = world.ids[:2]

    def send(node: int) -> None:
        opened = world.opened(server, node, binding_for())
        server.add_masked(node, world.masked(opened, node).encode())

    send(first)

    def full(self, node, message):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(MaskedSum, "add", full)
    with pytest.raises(AbandonedError, match=r"120 bytes .* No space left .* TMPDIR"):
        send(second)
    assert server._sum is None
    assert server._inputs == {}


def test_the_server_keeps_no_payload_in_memory(monkeypatch):
    monkeypatch.setattr(masked_sum, "MEMORY_BYTES", 1 << 16)
    world = World(PARAMETERS, dimension=400_000, bits=32)
    vector = 4 * world.dimension
    server = world.ready(ATTEMPT)
    server.bind_masks(binding_for())
    peaks: list[float] = []
    for node in world.ids:
        opened = world.opened(server, node, binding_for())
        reply = world.masked(opened, node).encode()
        tracemalloc.start()
        server.add_masked(node, reply)
        peaks.append(tracemalloc.get_traced_memory()[1] / vector)
        tracemalloc.stop()
    assert peaks[0] < 1.7
    assert max(peaks[1:]) < 0.7
    assert all(len(kept.update) == 0 for kept in server._inputs.values())


def test_blocks_share_points_that_each_of_them_has():
    rng = random.Random(7)
    columns = {
        node: {(node + step) % 60 + 1 for step in range(30) if rng.random() < 0.9}
        for node in range(60)
    }
    threshold = 20
    found = blocks(columns, threshold)
    assert sorted(node for _, block in found for node in block) == list(columns)
    for points, block in found:
        assert len(points) == threshold
        assert list(points) == sorted(points)
        assert all(columns[node].issuperset(points) for node in block)
    assert len(found) < 25


def test_who_holds_alike_is_one_block_with_the_lowest_points():
    everyone = {node: set(range(3, 12)) for node in range(7)}
    assert blocks(everyone, 5) == [((3, 4, 5, 6, 7), list(range(7)))]
    assert blocks({}, 5) == []


@pytest.mark.parametrize("points", list(combinations(range(1, 7), 4)))
def test_whichever_points_a_block_takes_the_seed_is_the_same(points):
    seed = hashlib.sha256(b"seed").digest()
    shares = shamir.split(seed, 4, range(1, 7), lambda n: hashlib.shake_256(b"x").digest(n))
    lagrange = shamir.coefficients(points)
    assert shamir.combine(lagrange, [shares[point - 1] for point in points]) == seed


def test_both_of_a_dispute_are_taken_out_of_a_sum_that_is_exact(monkeypatch):
    """On the disk too: the complaint comes with an input that is in the sum already."""
    monkeypatch.setattr(masked_sum, "MEMORY_BYTES", 1)
    world = World(LARGER, num_nodes=7)
    server = world.ready(ATTEMPT)
    server.bind_masks(binding_for())
    liar, victim = world.ids[6], world.ids[0]
    for node in world.ids:
        request = server.train_request(node)
        if node == liar:
            rows = tuple(row for row in request.rows if row[0] != victim)
            request = type(request)(**{**vars(request), "rows": rows})
        opened = ok(world.roles[node].open_train(request.encode(), binding_for()))
        server.add_masked(node, world.masked(opened, node).encode())
    survivors = server.close_masked()
    assert set(world.ids) - set(survivors) == {liar, victim}
    world.check(world.unmask(server, survivors), survivors)
