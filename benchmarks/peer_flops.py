"""Count the operations of a torch program's step as flops.py counts ours."""

from __future__ import annotations

from collections.abc import Callable

from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry


class _Counter(TorchDispatchMode):
    """torch's own formulas, without the module hooks of its counter, which TorchRL breaks."""

    total = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        if formula := flop_registry.get(function._overloadpacket):
            self.total += formula(*args, **(kwargs or {}), out_val=out)
        return out


def count_operations(step: Callable[[], None]) -> float:
    """Floating-point operations of the products of one step, forward and backward."""
    with _Counter() as counter:
        step()
    return float(counter.total)
