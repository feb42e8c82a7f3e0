"""Networks: their configs, the modules that these build, what tools ask of them."""

from cifarlab.models import airbench, cnn, resnet  # noqa: F401  defining a kind registers it
