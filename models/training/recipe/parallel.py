"""Gradients of one batch, computed in parts by threads that use one core each.

PyTorch's own threads meet after every operator. On a machine that others use too, one of them is always late and
the rest wait for it; threads that meet once a step lose next to nothing.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch


class Workers:
    """A few threads, each of which computes the gradients of one part of a batch at a time."""

    def __init__(self, threads: int):
        torch.set_num_threads(1)
        self.pool = ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,))

    def backward(self, model: torch.nn.Module, loss_of: Callable, parts: Sequence) -> tuple[float, list]:
        """Set the gradients of the mean loss over `parts`, which are of one size.

        `loss_of(part)` returns the loss and anything else; the result is the mean loss and the list of the others.
        The sum is taken in the order of the parts, so that the threads' timing changes no bit.
        """
        parameters = [p for p in model.parameters() if p.requires_grad]

        def work(part):
            """Gradients, loss and the rest for one part."""
            loss, extra = loss_of(part)
            return torch.autograd.grad(loss, parameters, allow_unused=True), float(loss.detach()), extra

        total, extras = 0.0, []
        for parameter in parameters:
            parameter.grad = None
        for gradients, loss, extra in self.pool.map(work, parts):
            total += loss / len(parts)
            extras.append(extra)
            for parameter, gradient in zip(parameters, gradients):
                if gradient is None:
                    continue
                if parameter.grad is None:
                    parameter.grad = torch.zeros_like(parameter)
                parameter.grad.add_(gradient, alpha=1 / len(parts))
        return total, extras
