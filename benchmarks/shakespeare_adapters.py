"""Adapters on a base of public plays, beside the whole model that goes on from that base."""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Self

from app.config.load import Scalar
from app.results.model_file import load_model
from benchmarks.shakespeare_runs import Plays, Run, accuracy_of, averaged

# The base is trained to the end, in runs that go on with each other at lower and lower rates:
# else the whole model has much to gain by merely going on, whatever the nodes' plays say.
_BASE_STAGES = ((4, 0.003), (1, 0.001), (1, 0.0003))
_PUBLIC_SHARE = 2 / 3
_NUM_ROUNDS = 3
_RANK = 66
# So wide that keys and shares, as many for adapters as for a model, are few of a model's bytes.
_MODEL = "task.length=128 task.width=384"
_BASE_BATCH = "task.training.batch_size=16"
_TRAINING = f"{_MODEL} task.training.batch_size=8"
# The best of 0.001, 0.002 and 0.004 for the whole and of 0.002, 0.004 and 0.01 for adapters, on
# a part of the nodes' plays.
_RATE = "task.training.learning_rate=0.004"
_TEST_SHARE = 0.1


@dataclass(frozen=True)
class Adaptation:
    """A base, and the plays that the nodes go on with.

    Attributes
    ----------
    plays : Plays
        The rest of the training text, and the test.
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
        """Divide the text in two parts, and train the base on the first."""
        text = (plays.folder / "input.txt").read_text(encoding="utf-8", errors="replace")
        middle = text.index("\n\n", int((1 - _TEST_SHARE) * _PUBLIC_SHARE * len(text))) + 2
        public, private = (
            _written(plays, name, part)
            for name, part in (("public", text[:middle]), ("own", text[middle:]))
        )
        base = _trained_base(public)
        _, model = load_model(base)
        task = plays.task(_TRAINING)
        return cls(private, base, accuracy_of(task, model, private.all_records(task)))

    def adapters(self) -> Run:
        """Train adapters through both apps."""
        digest = sha256(self.base.read_bytes()).hexdigest()
        keys = f"rank={_RANK} base={self.base} sha256={digest}".split()
        words = " ".join([_TRAINING, _RATE, *(f"task.adapters.{key}" for key in keys)])
        return self._run("adapters", words)

    def whole(self) -> Run:
        """Train the whole model through both apps, from the base on."""
        words = f"{_TRAINING} {_RATE}"
        return self._run("whole", words, {"initial-model": str(self.base.parent)})

    def _run(self, name: str, words: str, more: Mapping[str, Scalar] | None = None) -> Run:
        overrides = averaged(words, _NUM_ROUNDS)
        given = {"num-rounds": _NUM_ROUNDS, "overrides": overrides, **(more or {})}
        return self.plays.run(name, given)


def _trained_base(public: Plays) -> Path:
    """Train on all of the public text in one node; return the file of the last run's model."""
    alone = f"{_MODEL} {_BASE_BATCH} rounds.min_clients=1 rounds.min_replies=1"
    given: dict[str, Scalar] = {"aggregation": "plain"}
    for number, (num_rounds, rate) in enumerate(_BASE_STAGES):
        words = f"{alone} task.training.learning_rate={rate}"
        name = f"base-{number}"
        public.run(name, {**given, "num-rounds": num_rounds, "overrides": words}, num_nodes=1)
        given["initial-model"] = str(public.scratch / name)
    return Path(str(given["initial-model"])) / "model.safetensors"


def _written(plays: Plays, name: str, text: str) -> Plays:
    folder = plays.scratch / name
    folder.mkdir()
    (folder / "input.txt").write_text(text, encoding="utf-8")
    return Plays(folder, plays.scratch, plays.seed)
