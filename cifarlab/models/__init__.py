"""Networks: their configs, the modules that these build, what tools ask of them."""

import importlib
import pkgutil

_names = [module.name for module in pkgutil.iter_modules(__path__)]
for _name in _names:
    if f"{_name}_modules" in _names:  # a network's config; defining a kind registers it
        importlib.import_module(f"{__name__}.{_name}")
