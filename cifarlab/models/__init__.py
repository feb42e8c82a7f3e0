"""Networks: their configs, the modules that these build, roles and stages of parameters."""

from cifarlab.models import airbench, cnn, resnet  # noqa: F401  defining a kind registers it
