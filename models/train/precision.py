"""Where half of the bits are half of the time."""

from __future__ import annotations

import torch


def mixed(device: str) -> bool:
    """Say whether bf16 pays on a device: a CPU that has to imitate it needs nine times as long as with float32."""
    return device != "cpu" or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
