"""What a network looks at and what it is made of: maps, filters, the drawn architecture.

Read in this order: ``maps`` (class-activation maps), ``sanity`` (do they depend on the weights?),
``chosen`` (of which images), ``structure`` and ``steps`` (what a network is made of), ``figures``
and ``drawing`` (how it is shown), ``run`` (all of it for one run). Captum and Matplotlib are
imported where they are used.
"""

from cifarlab.explain.maps import class_activation_maps, feature_maps, map_shapes
from cifarlab.explain.run import Explained, draw_recipe, explain_run
from cifarlab.explain.sanity import Cascade, cascade
from cifarlab.explain.structure import Architecture, architecture

__all__ = [
    "Architecture",
    "Cascade",
    "Explained",
    "architecture",
    "cascade",
    "class_activation_maps",
    "draw_recipe",
    "explain_run",
    "feature_maps",
    "map_shapes",
]
