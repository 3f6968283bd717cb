"""Scene classification as MTP does it: a backbone, the mean of its last map, a linear layer."""

from typing import Any, Self

import torch
from mmengine.model import BaseModel
from torch import Tensor, nn
from torch.nn import functional

from mtp_bench.mm.backbone import build_backbone


class Classifier(BaseModel):
    """Inputs (B, 3, H, W), already normalised; labels (B,). No norm stands after the mean."""

    def __init__(
        self, backbone: dict[str, Any], classes: int, head_seed: int, frozen: bool = False
    ) -> None:
        super().__init__()
        self.backbone, self.load_report = build_backbone(**backbone)
        channels: Any = self.backbone.channels
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(head_seed)
            self.head = nn.Linear(channels[-1], classes)
            nn.init.trunc_normal_(self.head.weight, std=0.02)
            nn.init.zeros_(self.head.bias)
        self._frozen = frozen
        if frozen:
            self.backbone.requires_grad_(False)

    def init_weights(self) -> None:
        """Weights are in place once the model is built; mmengine would draw anew."""

    def train(self, mode: bool = True) -> Self:
        """A frozen backbone keeps its statistics: it stays in evaluation mode."""
        super().train(mode)
        if self._frozen:
            self.backbone.eval()
        return self

    def forward(self, inputs: Tensor, labels: Tensor, indices: Tensor, mode: str = "tensor") -> Any:
        """``loss``: losses; ``predict``: (index, label, prediction) triples; ``tensor``: logits."""
        logits = self.head(self.backbone(inputs)[-1].float().mean(dim=(2, 3)))
        if mode == "loss":
            return {"loss": functional.cross_entropy(logits.float(), labels)}
        if mode == "predict":
            columns = (indices, labels, logits.argmax(dim=1))
            return list(zip(*(column.tolist() for column in columns), strict=True))
        return logits
