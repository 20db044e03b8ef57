"""Adapters on a base of public plays, beside the whole model that goes on from that base."""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Self

from app.config.load import Scalar
from app.results.model_file import load_model
from benchmarks.shakespeare_runs import Plays, Run, accuracy_of, averaged

_BASE_ROUNDS = 8
_NUM_ROUNDS = 6
_RANK = 4
# So wide that keys and shares, as many for adapters as for a model, are few of a model's bytes.
_TRAINING = "task.length=128 task.width=384 task.training.batch_size=8"
_WHOLE_RATE = "task.training.learning_rate=0.002"
_ADAPTER_RATE = "task.training.learning_rate=0.008"
_TEST_SHARE = 0.1


@dataclass(frozen=True)
class Adaptation:
    """A base, and the plays that the nodes go on with.

    Attributes
    ----------
    plays : Plays
        The second half of the training text, and the test.
    base : Path
        The file of the base's parameters.
    base_accuracy : float
        Before the nodes have gone on with it.
    """

    plays: Plays
    base: Path
    base_accuracy: float

    @classmethod
    def prepare(cls, plays: Plays) -> Self:
        """Divide the text in two halves, and train the base on the first."""
        text = (plays.folder / "input.txt").read_text(encoding="utf-8", errors="replace")
        middle = text.index("\n\n", int((1 - _TEST_SHARE) * len(text) / 2)) + 2
        public, private = (
            _written(plays, name, part)
            for name, part in (("public", text[:middle]), ("own", text[middle:]))
        )
        # One node with all of the public text: the base is the model of a run like any other.
        alone = f"{_TRAINING} {_WHOLE_RATE} rounds.min_clients=1 rounds.min_replies=1"
        words = averaged(alone, _BASE_ROUNDS)
        given = {"num-rounds": _BASE_ROUNDS, "aggregation": "plain", "overrides": words}
        public.run("base", given, num_nodes=1)
        base = plays.scratch / "base" / "model.safetensors"
        _, model = load_model(base)
        task = plays.task(_TRAINING)
        return cls(private, base, accuracy_of(task, model, private.all_records(task)))

    def adapters(self) -> Run:
        """Train low-rank adapters through both apps."""
        digest = sha256(self.base.read_bytes()).hexdigest()
        keys = f"rank={_RANK} base={self.base} sha256={digest}".split()
        words = " ".join([_TRAINING, _ADAPTER_RATE, *(f"task.adapters.{key}" for key in keys)])
        return self._run("adapters", words)

    def whole(self) -> Run:
        """Train the whole model through both apps, from the base on."""
        words = f"{_TRAINING} {_WHOLE_RATE}"
        return self._run("whole", words, {"initial-model": str(self.base.parent)})

    def _run(self, name: str, words: str, more: Mapping[str, Scalar] | None = None) -> Run:
        overrides = averaged(words, _NUM_ROUNDS)
        given = {"num-rounds": _NUM_ROUNDS, "overrides": overrides, **(more or {})}
        return self.plays.run(name, given)


def _written(plays: Plays, name: str, text: str) -> Plays:
    folder = plays.scratch / name
    folder.mkdir()
    (folder / "input.txt").write_text(text, encoding="utf-8")
    return Plays(folder, plays.scratch, plays.seed)
