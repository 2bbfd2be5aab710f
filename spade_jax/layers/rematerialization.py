"""Memory for operations: layers whose activations the backward pass computes again (Chen et al. 2016)."""

from __future__ import annotations

from typing import Any

from flax import linen as nn


def remat_if(again: bool, module: nn.Module, *inputs: Any, train: bool) -> Any:
    """`module(*inputs, train=train)`; where `again`, only its inputs are kept for the backward pass. The variables are the same in both forms."""

    def apply(module, *inputs):
        return module(*inputs, train=train)

    return (nn.remat(apply) if again and not module.is_initializing() else apply)(module, *inputs)
