"""Muon: steps of even size in every direction of a weight matrix, for the weights of convolutions and linears.

Keller Jordan and others, 2024. The momentum of each matrix is replaced by the nearest matrix with singular values
near one, found by five Newton-Schulz iterations. A step then costs more and teaches much more, which pays where
steps are few.
"""

from concurrent.futures import Executor

import torch


def orthogonalise(matrix: torch.Tensor, rounds: int = 5) -> torch.Tensor:
    """A matrix of the same singular vectors with all singular values near one, [rows, columns] with any ratio."""
    a, b, c = 3.4445, -4.7750, 2.0315  # the published quintic: steep at zero, flat near one
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    x = (wide / (wide.norm() + 1e-7)).bfloat16()
    for _ in range(rounds):
        gram = x @ x.T
        x = a * x + (b * gram + c * (gram @ gram)) @ x
    result = x if matrix.shape[0] <= matrix.shape[1] else x.T
    return result.float()


class Muon(torch.optim.Optimizer):
    """Momentum, made orthogonal, for parameters of two or more dimensions (the first one against all others)."""

    def __init__(self, parameters, lr: float, momentum: float = 0.95, pool: Executor | None = None):
        super().__init__(parameters, {"lr": lr, "momentum": momentum})
        self.pool = pool

    @torch.no_grad()
    def step(self) -> None:
        """Take one step; matrices are independent, so the pool's threads share them."""
        jobs = [(p, group) for group in self.param_groups for p in group["params"] if p.grad is not None]
        for _ in self.pool.map(self._update, jobs) if self.pool else map(self._update, jobs):
            pass

    @torch.no_grad()
    def _update(self, job) -> None:
        """Move one matrix."""
        parameter, group = job
        state = self.state[parameter]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(parameter)
        state["momentum"].lerp_(parameter.grad, 1 - group["momentum"])
        ahead = torch.lerp(parameter.grad, state["momentum"], group["momentum"])  # Nesterov's look ahead
        update = orthogonalise(ahead.flatten(1))
        rows, columns = update.shape
        parameter.add_(update.view_as(parameter), alpha=-group["lr"] * max(1.0, rows / columns) ** 0.5)


def divide(model: torch.nn.Module, by_hand: tuple[str, ...]) -> tuple[list, list]:
    """Split parameters into matrices for Muon and the rest: vectors, and layers whose name starts with `by_hand`."""
    matrices, rest = [], []
    for name, parameter in model.named_parameters():
        (rest if parameter.ndim < 2 or name.startswith(by_hand) else matrices).append(parameter)
    return matrices, rest
