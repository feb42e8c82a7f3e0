"""The graph that leaves the laboratory: raw pixels in, calibrated probabilities out."""

import copy

import torch
from torch import Tensor, nn

from cifarlab.inference.predictor import Predictor
from cifarlab.inference.tta import confidence, generate_views

ANY_NUMBER_OF_IMAGES = ({0: torch.export.Dim("N")},)


class ExportedNetwork(nn.Module):
    """Test-time views, normalisation, network, temperature and softmax in one forward pass.

    Further views are computed of all images and selected for those whose confidence in the first
    view is below the threshold: the same result as ``Predictor.logits``, for the time of as many
    passes as there are views. It computes in float32 on the CPU, in evaluation mode.
    """

    def __init__(self, predictor: Predictor, views: int, temperature: float | None) -> None:
        super().__init__()
        self.classifier = copy.deepcopy(predictor.classifier).cpu()
        self.image_shape = predictor.image_shape
        self.views, self.temperature = views, temperature or 1.0
        self.tta_threshold = predictor.tta_threshold if views > 1 else None
        self.eval()

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return probabilities and logits float32 (N, K) of images uint8 (N, H, W, C)."""
        views = torch.cat(list(generate_views(images, self.views)))
        by_view = self.classifier(views).unflatten(0, (self.views, -1))
        logits = by_view.mean(0)
        if self.tta_threshold is not None:
            is_unsure = confidence(by_view[0]) < self.tta_threshold
            logits = torch.where(is_unsure[:, None], logits, by_view[0])
        return (logits / self.temperature).softmax(1), logits

    def trace(self) -> torch.export.ExportedProgram:
        """Return the program of any number of images, without the paths of this machine."""
        example = torch.zeros(2, *self.image_shape, dtype=torch.uint8)
        with torch.no_grad():
            program = torch.export.export(self, (example,), dynamic_shapes=ANY_NUMBER_OF_IMAGES)
        for module in program.graph_module.modules():  # a block of other arithmetic is a module
            if isinstance(module, torch.fx.GraphModule):
                for node in module.graph.nodes:
                    node.meta.pop("stack_trace", None)
        return program
