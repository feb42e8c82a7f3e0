"""cifarlab: which recipe is better, by how much, and is that real?

    import cifarlab as lab
    run = lab.train("quickstart", {"optimizer.lr": 0.05})
    run.accuracy, run.history, run.plot.curves(), run.predict(images)

The names stand in ``__init__.pyi``; each is imported when it is first used, so that
``import cifarlab`` loads no torch.
"""

import lazy_loader

__version__ = "0.2.0"
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
