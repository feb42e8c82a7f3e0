"""cifarlab: which recipe is better, by how much, and is that real?

    recipe -> sources -> splits -> loader -> augment -> network -> loss -> optimizer
                                                  |
                            journal, checkpoints -> evaluate -> result, predictions -> report

Where the public names are (nothing is imported here, so that the command line answers at once):

    cifarlab.recipe     Recipe, Duration, build, change, overridden, from_yaml, to_yaml, keys
    cifarlab.recipes    find, shipped
    cifarlab.data       open_dataset, training_subsets, test_subset, channel_statistics
    cifarlab.models     build_body, Classifier, parameter_count
    cifarlab.optim      build_optimizer, factor
    cifarlab.train      train, extended, Hook, Recorder
    cifarlab.evaluate   Predictor, predict, measure, evaluate_run, open_test_split
    cifarlab.explain    explain_run, class_activation_maps, feature_maps, architecture, cascade
    cifarlab.audit      audit, Audit
    cifarlab.ship       predict_paths, Oracle, read_inputs
    cifarlab.processes  joined, Processes
    cifarlab.search     Search, find_search, run_search
    cifarlab.study      Study, Row, Reported, find_study, run_study, compare_runs, compare
    cifarlab.run        RunFolder, Journal, Predictions, without_cost
    cifarlab.report     write_report
    cifarlab.page       serve
    cifarlab.errors     every error that is raised on purpose
"""

__version__ = "0.1.0"
