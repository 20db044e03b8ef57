"""An autoencoder of a user's ratings."""

import torch
from torch import Tensor, nn


class AutoRec(nn.Module):
    """Foresee all of a user's ratings from those that are there.

    Parameters
    ----------
    num_items : int
        Items.
    width : int
        Of the hidden layer.
    """

    def __init__(self, num_items: int, width: int) -> None:
        super().__init__()
        self.encoder = nn.Linear(num_items, width)
        self.decoder = nn.Linear(width, num_items)

    def forward(self, ratings: Tensor) -> Tensor:
        """Return numbers around [-1, 1] for all items, shape (n, items).

        Parameters
        ----------
        ratings : Tensor, shape (n, items)
            On [-1, 1]; what is beyond is no rating.
        """
        known = torch.where(ratings.abs() <= 1, ratings, torch.zeros_like(ratings))
        return self.decoder(torch.sigmoid(self.encoder(known)))
