"""The recipe's optimizer as PyTorch's own, in its fused form."""

from torch import nn, optim

from cifarlab.recipe.schema import SGD, Optimizer


def build_optimizer(config: Optimizer, module: nn.Module) -> optim.Optimizer:
    """An optimizer over all trainable parameters; the loop sets its rate before each step."""
    parameters = [p for p in module.parameters() if p.requires_grad]
    if isinstance(config, SGD):
        return optim.SGD(
            parameters,
            lr=config.rate,
            momentum=config.momentum,
            nesterov=config.nesterov,
            weight_decay=config.weight_decay,
            fused=True,
        )
    return optim.AdamW(
        parameters,
        lr=config.rate,
        betas=config.betas,
        eps=config.eps,
        weight_decay=config.weight_decay,
        fused=True,
    )
