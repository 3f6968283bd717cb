"""Layers that several backbones share."""

from torch import Tensor, nn

from mtp_bench.backbones.lean import gelu_linear, norm_linear


class Mlp(nn.Module):
    """Linear to four times the width, GELU, linear."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, tokens: Tensor, norm: nn.LayerNorm | None = None) -> Tensor:
        """``norm`` is applied first, here so that its output need not be kept."""
        hidden = self.fc1(tokens) if norm is None else norm_linear(norm, self.fc1, tokens)[0]
        return gelu_linear(self.fc2, hidden)


class Norm2d(nn.Module):
    """Layer norm over the channels of a map."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.ln = nn.LayerNorm(channels, 1e-6)

    def forward(self, maps: Tensor) -> Tensor:
        # Transposed convolutions are slow on channels-last views.
        normed: Tensor = self.ln(maps.permute(0, 2, 3, 1))
        return normed.permute(0, 3, 1, 2).contiguous()


class Permuted(nn.Module):
    """Dimensions in another order."""

    def __init__(self, *order: int) -> None:
        super().__init__()
        self._order = order

    def forward(self, maps: Tensor) -> Tensor:
        return maps.permute(self._order)
