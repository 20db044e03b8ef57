"""The plays: whose lines are whose, what is held out, and models that see no future."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tasks.base import DataSource
from tasks.records import DataError, Examples
from tasks.schema import PartitionConfig, Scheme
from tasks.sequences import NO_TARGET, NO_TOKEN, Reader, encode, next_tokens
from tasks.shakespeare import VOCABULARY, Shakespeare, ShakespeareConfig
from tasks.training.local import initial_model
from tests.kits.per_record import clipped_sum

SPEAKERS = ("ROMEO", "JULIET", "NURSE", "First Citizen", "All")
NATURAL = PartitionConfig(scheme=Scheme.natural)


def write(directory: Path, num_speeches: int = 60) -> Path:
    """Write plays in which each speaker says its own name and a number."""
    speeches = []
    for number in range(num_speeches):
        who = SPEAKERS[(3 * number + number // 7) % len(SPEAKERS)]
        word = said(number)
        speeches.append(f"{who}:\n{word}, I am {who},\nand say {word}.")
    (directory / "input.txt").write_text("\n\n".join(speeches) + "\n")
    return directory


def said(number: int) -> str:
    """Return a word that no other speech has."""
    return (chr(97 + number // 26) + chr(97 + number % 26)) * 6


def shakespeare(**keys) -> Shakespeare:
    given = {"partition": NATURAL, "length": 16, "width": 8, "embedding": 4} | keys
    return Shakespeare(ShakespeareConfig(**given), seed=0)


def text_of(examples: Examples) -> str:
    """Return what windows say, in their order."""
    letters = dict(enumerate(VOCABULARY, start=1))
    return "".join(letters.get(token, "") for token in examples.inputs.flatten())


def test_the_next_token_is_the_target_and_what_is_missing_counts_for_nothing():
    tokens = np.array([5, 6, 7, NO_TOKEN, 8], np.int64)
    inputs, targets = next_tokens(tokens, 3)
    assert inputs.tolist() == [[5, 6, 7], [NO_TOKEN, 0, 0]]
    assert targets.tolist() == [[6, 7, NO_TARGET], [8, NO_TARGET, NO_TARGET]]
    for few in (0, 1):
        assert next_tokens(tokens[:few], 3)[0].shape == (0, 3)


def test_a_character_that_is_not_known_is_no_token():
    assert encode("aZé\n", VOCABULARY).tolist() == [
        VOCABULARY.index("a") + 1,
        VOCABULARY.index("Z") + 1,
        NO_TOKEN,
        VOCABULARY.index("\n") + 1,
    ]
    assert len(set(VOCABULARY)) == len(VOCABULARY) == 65


def test_a_speakers_lines_are_with_one_node(tmp_path):
    folder, task = write(tmp_path), shakespeare()
    own = [text_of(task.load(DataSource(node, 3, folder)).train) for node in range(3)]
    for speaker in SPEAKERS:
        assert sum(f"I am {speaker}," in text for text in own) == 1
    sizes = sorted(map(len, own))
    assert sizes[-1] < 2 * sizes[0]


@pytest.mark.parametrize("scheme", ["natural", "iid", "size_skew"])
def test_the_last_tenth_is_held_out_and_dealt_evenly(tmp_path, scheme):
    folder = write(tmp_path)
    task = shakespeare(partition=PartitionConfig(scheme=Scheme(scheme), min_examples=2))
    parts = [task.load(DataSource(node, 3, folder)) for node in range(3)]
    sizes = [len(part.test) for part in parts]
    assert max(sizes) - min(sizes) <= 1
    length = len((folder / "input.txt").read_text())
    assert sum(sizes) == pytest.approx(0.1 * length / 16, abs=4)
    windows = np.concatenate([part.train.inputs for part in parts])
    trained = text_of(Examples(windows, windows))
    assert len(trained) == pytest.approx(0.9 * length, rel=0.1)
    if scheme == "natural":
        assert [said(number) in trained for number in range(60)] == [True] * 54 + [False] * 6


@pytest.mark.parametrize("scheme", ["natural", "iid"])
def test_in_a_private_run_a_character_is_in_one_record(tmp_path, scheme):
    """Each one of a window changes that window alone: also its first, which comes after one."""
    folder = write(tmp_path)
    task = shakespeare(partition=PartitionConfig(scheme=Scheme(scheme)))
    task.is_private = True
    text = (folder / "input.txt").read_text()
    before = task.load(DataSource(0, 2, folder)).train
    numbers = Counter[int]()
    for place, letter in enumerate(text[:400]):
        line = text[text.rfind("\n", 0, place) + 1 : text.index("\n", place)]
        if letter.isspace() or line.endswith(":"):
            continue
        changed = tmp_path / str(place)
        changed.mkdir()
        (changed / "input.txt").write_text(f"{text[:place]}${text[place + 1 :]}")
        after = task.load(DataSource(0, 2, changed)).train
        moved = (before.inputs != after.inputs).any(axis=1)
        moved |= (before.targets != after.targets).any(axis=1)
        numbers[int(moved.sum())] += 1
    assert set(numbers) == {0, 1}
    assert numbers[1] > 50
    # Without privacy every character but a text's first is a target; a text's end has fewer.
    assert (before.targets[:, -1] == NO_TARGET).all()
    task.is_private = False
    targets = task.load(DataSource(0, 2, folder)).train.targets
    assert (targets[:, -1] == NO_TARGET).sum() <= 1


@pytest.mark.parametrize("reader", list(Reader))
def test_no_model_sees_what_comes_later(reader):
    task = shakespeare(model=reader, num_layers=2)
    model = initial_model(task)
    inputs = torch.from_numpy(task.made_up_inputs(3))
    changed = inputs.clone()
    changed[:, 9:] = 1 + (changed[:, 9:] + 3) % 60
    with torch.inference_mode():
        before, after = model(inputs), model(changed)
    torch.testing.assert_close(before[:, :9], after[:, :9])
    assert not torch.allclose(before[:, 9:], after[:, 9:])


@pytest.mark.parametrize("reader", list(Reader))
def test_a_window_without_targets_has_no_gradient(tmp_path, reader):
    task = shakespeare(model=reader)
    windows = task.load(DataSource(0, 2, write(tmp_path))).train.take(np.arange(3))
    empty = replace(windows, targets=np.full_like(windows.targets, NO_TARGET))
    assert not clipped_sum(task, initial_model(task), empty, np.arange(3), 1.0).any()
    assert clipped_sum(task, initial_model(task), windows, np.arange(3), 1.0).any()


@pytest.mark.parametrize("content", ["", "no speaker at all\n\nand none here\n"])
def test_what_is_no_play_is_refused_with_what_was_expected(tmp_path, content):
    (tmp_path / "input.txt").write_text(content)
    with pytest.raises(DataError, match="a speaker's name and a colon"):
        shakespeare().load(DataSource(0, 2, tmp_path))


def test_more_nodes_than_speakers_are_refused(tmp_path):
    with pytest.raises(DataError, match="5 speakers for 6 clients; start 5 at most"):
        shakespeare().load(DataSource(0, 6, write(tmp_path)))


def test_every_speaker_speaks_once_among_all_nodes(tmp_path):
    folder, task = write(tmp_path), shakespeare()
    own = [text_of(task.load(DataSource(node, 5, folder)).train) for node in range(5)]
    said = Counter(text.split(":")[0] for text in own)
    assert set(said) == set(SPEAKERS)


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"length": 1}, "task.length=1: must be at least 2"),
        ({"width": 12, "model": Reader.transformer}, "a multiple of 8"),
        ({"partition": PartitionConfig(scheme=Scheme.dirichlet)}, "have no classes"),
    ],
)
def test_keys_that_cannot_be_are_refused(keys, words):
    with pytest.raises(ValueError, match=words):
        shakespeare(**keys)
