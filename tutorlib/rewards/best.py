"""Early stopping: the weights that did best on held-out pairs."""

from __future__ import annotations

import copy

from torch import nn


class Best:
    """The weights that did best on held-out pairs, and how long ago that was."""

    def __init__(self, model: nn.Module):
        """Begin with nothing seen."""
        self.model, self.loss, self.weights, self.waited = model, float("inf"), None, 0

    def see(self, loss: float) -> None:
        """Keep the weights if the loss is the lowest so far."""
        if loss < self.loss:
            self.loss, self.waited = loss, 0
            self.weights = copy.deepcopy(self.model.state_dict())
        else:
            self.waited += 1

    def put_back(self) -> None:
        """Give the model its best weights again."""
        if self.weights is not None:
            self.model.load_state_dict(self.weights)
