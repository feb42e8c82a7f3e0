"""The glossary's tables as data: what a thing was called, and what it is called now."""


def table(text: str) -> list[tuple[str, str]]:
    """Return the rows of a table: a word and what follows it."""
    rows = [line.split() for line in text.strip().splitlines()]
    return [(row[0], " ".join(row[1:])) for row in rows]


# A key with [kind] is one of that kind alone. Those of studies and searches begin with their name.
KEYS = table("""
optimizer.rate                        optimizer.lr
optimizer.norms.rate                  optimizer.norms.lr
optimizer.biases.rate                 optimizer.biases.lr
optimizer.decoupled                   optimizer.decoupled_weight_decay
optimizer.smoothing                   optimizer.alpha[rmsprop]
optimizer.start                       optimizer.initial_accumulator_value[adagrad]
optimizer.iterations                  optimizer.ns_steps[muon]
optimizer.others                      optimizer.aux_sgd.lr
optimizer.normalise                   optimizer.normalize_weights[muon]
schedule.factor[exponential]          schedule.gamma[exponential]
schedule.factor[step]                 schedule.gamma[step]
schedule.factor[multistep]            schedule.gamma[multistep]
schedule.final                        schedule.end_factor
schedule.start                        schedule.start_factor[onecycle]
schedule.rise                         schedule.pct_start[onecycle]
schedule.every                        schedule.step_size[step]
schedule.least                        schedule.min_factor[plateau]
schedule.growth                       schedule.cycle_mul[cosine_restarts]
schedule.peak                         schedule.cycle_decay[cosine_restarts]
data.validation                       data.val_fraction
data.test                             data.test_fraction
data.share                            data.train_subset_fraction
data.noise                            data.label_noise.kind
data.label_noise.share                data.label_noise.noise_rate[pair]
data.label_noise.rows                 data.label_noise.transition_matrix[matrix]
data.labels                           data.label_mode
data.fold.of                          data.fold.n_splits
data.fold.number                      data.fold.index
data.images.fit                       data.images.resize_mode
data.images.broken                    data.images.on_bad_images
augment.sizes                         augment.progressive_resize
augment.jitter                        augment.color_jitter.contrast
augment.color_jitter.brightness       augment.color_jitter.brightness_shift
augment.flip                          augment.hflip
augment.flip_vertical                 augment.vflip
augment.rotation                      augment.degrees
augment.zoom                          augment.scale
augment.shift                         augment.translate
augment.crop.mode                     augment.crop.padding_mode
augment.fill                          augment.fill_mode
augment.noise                         augment.gaussian_noise.sigma
augment.policy.operations             augment.policy.num_ops[randaugment]
augment.mix.probability               augment.mix.prob[mixup]
model.initialisation                  model.init
model.initialization                  model.init
model.norm.groups                     model.norm.num_groups[group]
model.kernel                          model.kernel_size[cnn]
model.whitening.kernel                model.whitening.kernel_size
model.whitening.directions            model.whitening.n_components
model.stem                            model.stem_width[resnet]
model.blocks                          model.depths[resnet]
model.depth                           model.depths[airbench]
model.head_scale                      model.logit_scale[airbench]
model.dense                           model.hidden_features[cnn]
training.selection                    training.selective_backprop.start
training.selective_backprop.share     training.selective_backprop.keep
training.selective_backprop.pixels    training.selective_backprop.image_size
training.clip_norm                    training.clip_grad_norm
training.clip_units                   training.agc
training.patience                     training.early_stopping.patience
training.budget                       training.max_time
training.micro_batch                  training.micro_batch_size
evaluation.views                      evaluation.tta_views
evaluation.unsure                     evaluation.tta_fraction
study.changes                         study.overrides
study.rows.changes                    study.rows.overrides
study.seeds                           study.n_seeds
search.changes                        search.overrides
search.max                            search.max_epochs
search.scheduler.grace                search.scheduler.grace_period[asha]
search.scheduler.reduction            search.scheduler.reduction_factor[asha]
search.sampler.startup                search.sampler.n_startup_trials[tpe]
""")
# Values, by their key.
VALUES = table("""
schedule.kind                   restarts      cosine_restarts
augment.crop.padding_mode       zero          constant
augment.fill_mode               zero          constant
model.kind                      residual      resnet
model.kind                      speed         airbench
model.init                      usual         default
model.init                      he            kaiming_normal
model.init                      he_uniform    kaiming_uniform
model.init                      xavier        xavier_uniform
model.linear_order              dense         linear
search.space.kind               log-uniform   loguniform
search.space.kind               integer       int
""")
COMMANDS = table("""
page              dashboard
--everything      --full
--outliers        --ood
--views           --tta-views
--record          --tensor-stats
--randomise       --sanity-check
--sample          --sample-submission
--fit             --resize-mode
""")
# What the package's texts name: files, a variable of the environment.
TEXTS = table("""
journal.jsonl               metrics.jsonl
record.jsonl                tensor_stats.jsonl
CIFARLAB_PAGE_PASSWORD      CIFARLAB_DASHBOARD_PASSWORD
""")
# Keys of files; of study.json those of its comparison.
JSON = table("""
result.json                 ended         stop_reason
result.json                 why           stop_reason
result.json                 confusion     confusion_matrix
TensorStatsLine             gradient      grad_norm
Histogram                   gradient      grad_norm
search.jsonl                values        params
study.json                  validation    split
findings.json               given         given_label
findings.json               suggested     predicted_label
findings.json               quality       label_quality
""")
# Names in code, wherever they are; those of a class, or of a folder, stand behind it.
CODE = table("""
Rate                        PositiveFloat
Share                       Fraction
tell_places                 index
Part                        Config BatchShard
pieces                      micro_batches
piece_sizes                 micro_batch_sizes
hits                        correct
worth_a_backward_pass       select_hard_examples
selected                    n_selected
sized                       resize
shrunk                      downsample
turned                      affine_matrices
moves                       sample_affine
ALONE                       SINGLE_PROCESS
by_first                    broadcast_from_rank0
in_turn                     run_local_rank0_first
add_up                      all_reduce
joined                      init_distributed
SpreadBatchNorm             DistributedBatchNorm
SpreadDropout               DistributedDropout
Watch                       PlateauState
watched                     update_plateau
ending                      StopRequest
enough                      StopRequest
Left                        StopRequest
StopHook                    StopRequest
Asked                       TrainRequest
Hook                        Callback
Recorder                    TensorStats
again                       run_evaluation
examine                     full_evaluation
gains                       tta_comparison
shares                      intervals
strangers                   ood
silent_units                dead_units
Oracle                      RunPredictor
Answers                     ClassProbabilities
Judge                       RungScheduler
Verdict                     RungDecision
Course                      TrialSession
Ledger                      TrialHistory
Notes                       EventLog
Flattery                    SelectionBias
finals                      finalists
Line                        ComparisonRow
hindrance                   skip_reason
beside                      figures
said                        show_errors
heard                       last_modified
strange                     unrecognized_entries
door                        login
crumb                       cookie
inside                      tensor_stats
chosen                      image_selection
Shown                       ImageSet
Told                        CaptionedFigure
Batch.whole                 global_size
Batch.total                 n_examples
Batch.others                partner_labels
Processes.count             world_size
Processes.first             is_main_process
Processes.gathered          all_gather
search/Draws                TrialSearcher
""")
# Modules and rooms.
MODULES = table("""
ship                        inference
page              dashboard
train                       training
recipe                      recipes
runs                        run_folder
models/spread.py            models/distributed_layers.py
evaluate                    evaluation/run_evaluation.py
dashboard/beside.py         dashboard/figures.py
dashboard/places.py         dashboard/urls.py
report/words.py             system/formatting.py
report/content.py           run_folder/run_data.py
report/inside.py            plots/tensor_stats.py
report/style.py             plots/style.py
explain/chosen.py           explain/image_selection.py
""")
