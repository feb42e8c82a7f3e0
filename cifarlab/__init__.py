"""cifarlab: which recipe is better, by how much, and is that real?

recipe -> sources -> splits -> loader -> augment -> network -> loss -> optimizer
                                              |
                        metrics, checkpoints -> evaluation -> result, predictions -> report
"""

__version__ = "0.1.0"
