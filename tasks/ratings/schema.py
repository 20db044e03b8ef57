"""The configuration of the ``ratings`` task: items, bounds and columns of a long-form CSV."""

from dataclasses import dataclass, field
from math import isfinite

from tasks.csv.columns import require_delimiter
from tasks.schema import TaskConfig, require

#: Items of a list, at most: a record has a place for each.
MOST_ITEMS = 2**20


@dataclass
class RatingsConfig(TaskConfig):
    """The meaning of a file. ``partition`` is not used: each node has its own file.

    Attributes
    ----------
    user, item, rating : str
        The columns that say whose rating it is, of what, and the number. Others are not read.
    items : list of str
        All items, a public list; a row of another one does not fit.
    num_items : int
        Instead: items are the whole numbers from 1 to this.
    min_rating, max_rating : float
        Public bounds of a rating; a row beyond them does not fit.
    delimiter : str
        What separates the fields, one character.
    width : int
        Of the autoencoder's hidden layer, which workloads of neural models train; at least 1.
    """

    user: str = "user"
    item: str = "item"
    rating: str = "rating"
    items: list[str] = field(default_factory=list)
    num_items: int = 0
    min_rating: float = 0.0
    max_rating: float = 0.0
    delimiter: str = ","
    width: int = 32

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("user", "item", "rating"):
            require(bool(getattr(self, name)), f"task.{name}='': must be the name of a column")
        columns = self.columns()
        require(
            len(set(columns)) == len(columns),
            f"task.user, task.item and task.rating are {', '.join(columns)}: must be three"
            " columns",
        )
        self._check_items()
        require(
            isfinite(self.max_rating - self.min_rating) and self.min_rating < self.max_rating,
            f"task.min_rating={self.min_rating:g}, task.max_rating={self.max_rating:g}: must be"
            " the bounds of a rating, finite and the first below the second",
        )
        require_delimiter(self.delimiter)
        require(self.width >= 1, f"task.width={self.width}: must be at least 1")

    def columns(self) -> list[str]:
        """Return the columns that a file must have."""
        return [self.user, self.item, self.rating]

    def item_names(self) -> list[str]:
        """Return the names of all items, in the order of a record's places."""
        return self.items or [str(number) for number in range(1, self.num_items + 1)]

    def _check_items(self) -> None:
        require(
            bool(self.items) != bool(self.num_items),
            f"task.items has {len(self.items)} names and task.num_items={self.num_items}: give"
            " one of them, the public list of all items, or how many there are",
        )
        number = self.num_items or len(self.items)
        require(
            1 <= number <= MOST_ITEMS,
            f"task.num_items={number}: must be from 1 to {MOST_ITEMS}",
        )
        seen: set[str] = set()
        for name in self.items:
            require(
                bool(name) and name == name.strip() and name not in seen,
                f"task.items: {name!r} must be a name without blanks around it, and stand there"
                " once",
            )
            seen.add(name)
