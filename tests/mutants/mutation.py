"""One mutation, and the text of a file with it."""

from dataclasses import dataclass
from pathlib import Path


class StaleMutationError(Exception):
    """A mutation that no longer fits its file: mend the list. Never a kill."""


@dataclass(frozen=True)
class Mutation:
    """A change that breaks one promise.

    Parameters
    ----------
    name : str
        What the broken code does, in words joined by dashes.
    file : str
        Path from the root.
    old, new : str
        Text that stands exactly once in the file, and what replaces it.
    tests : tuple of str
        Pytest's names of the nearest tests.
    """

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]

    def applied(self, root: Path) -> str:
        """Return the mutated text of the file, or raise `StaleMutationError`."""
        path = root / self.file
        if not path.is_file():
            raise StaleMutationError(f"{self.file} is not there")
        text = path.read_text(encoding="utf-8")
        if (found := text.count(self.old)) != 1:
            raise StaleMutationError(f"{self.old!r} stands {found} times in {self.file}")
        if self.old == self.new:
            raise StaleMutationError("it changes nothing")
        mutated = text.replace(self.old, self.new)
        try:
            compile(mutated, self.file, "exec")
        except SyntaxError as error:
            raise StaleMutationError(f"{self.file} is no Python with it: {error}") from None
        return mutated
