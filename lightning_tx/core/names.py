"""The names under which runs and studies are recorded: metrics, tags, parameters and artifacts.

What was recorded once is read for years: a name stays as it is, and stands here alone.
"""

# Places of metrics: what comes before the name of a measure.

#: While training: averages since the last point of the curve.
TRAIN = "train/"
#: At each validation while training.
VALIDATION = "val/"
#: On the validation split at the end of training.
LAST = "last/"
#: On the validation split, of the weights that the run keeps.
BEST = "best/"
#: On the test split at the end of training.
LAST_TEST = "last_test/"
#: On the test split, of the weights that the run keeps.
TEST = "test/"
#: Before one of these places: what decoding took there.
DECODING = "decoding/"
#: Everywhere a measure stands.
PLACES = (VALIDATION, LAST, BEST, LAST_TEST, TEST)

# Metrics that every run has.

#: Targets trained on a second, validation and saving left out.
TOKENS_PER_SECOND = f"{TRAIN}tokens_per_second"
#: Targets trained on in all.
TRAINED_TOKENS = f"{TRAIN}tokens"
#: Tokens computed in all, padding and tokens without a target included.
TRAINED_POSITIONS = f"{TRAIN}positions"
#: Before ``<where>/<stat>``: what sublayers told of themselves while training.
STATS = f"{TRAIN}stats/"
#: Seconds of training, validation and saving left out.
TRAIN_SECONDS = "time/train_seconds"
#: The peak of the GPU's memory, or of the process's, in bytes.
PEAK_BYTES = "memory/peak_bytes"
#: Before each count of parameters.
PARAMETERS = "params/"
#: All parameters of the model.
TOTAL_PARAMETERS = f"{PARAMETERS}total"
#: Those that are trained.
TRAINABLE_PARAMETERS = f"{PARAMETERS}trainable"
#: Those that a token passes through.
ACTIVE_PARAMETERS = f"{PARAMETERS}active"
#: Floating-point operations of the forward pass for one token.
FORWARD_FLOPS = "flops/forward_per_token"
#: Floating-point operations of the whole training.
TOTAL_FLOPS = "flops/total"

# Tags of a run or a study.

#: What a run in MLflow is to us: the value is ``RUN`` or ``STUDY_KIND``.
KIND = "ltx.kind"
RUN = "run"
STUDY_KIND = "study"
#: The study's name, on the parent and on each of its runs.
STUDY = "ltx.study"
#: The hash of what a run trains.
IDENTITY = "ltx.identity"
#: Why a run failed or was killed, in one line.
REASON = "ltx.reason"
#: The machine that trains, or last trained, the run.
HOST = "ltx.host"
#: How often the run was taken up again.
RESUMED = "ltx.resumed"
#: ``<commit> -> <commit>`` where a run was resumed by other code than the one it began with.
CODE_CHANGED = "ltx.code_changed"
#: JSON: facts that were others when the run was resumed, as ``{"threads": ["2", "1"]}``.
FACTS_CHANGED = "ltx.facts_changed"
#: The primary metric by its full name.
METRIC = "ltx.metric"
#: Which way it is good: ``min`` or ``max``.
DIRECTION = "ltx.direction"
#: JSON: what every measure of the task needs to be compared (:mod:`lightning_tx.core.measure`).
MEASURES = "ltx.measures"
#: What of a run's config nothing in it reads, separated by commas: groups, and options as ``model.num_heads``.
UNREAD = "ltx.unread"
#: The head that began fresh in a run that otherwise began with the weights of another.
FRESH_HEAD = "ltx.fresh_head"
#: Before the start of a digest: other data that the run was evaluated on.
OTHER_DATA = "ltx.other_data."
#: ``<key>@<step>`` of the first metric that was infinite or not a number.
NONFINITE = "nonfinite"
#: When a study was last opened, as an ISO 8601 time.
OPENED = "ltx.opened"
#: The overrides of the sweeps that make up a study, one sweep a line.
OVERRIDES = "ltx.overrides"
#: Of a study: the precision that ``auto`` stands for in all of its runs.
PRECISION = "ltx.precision"
#: Of a study: the difference that matters, as it was written (``0.01`` or ``1%``).
MARGIN = "ltx.margin"
#: JSON: how many seeds each report has seen that saw new ones, and when: ``[[3, "2026-01-01T00:00:00+00:00"]]``.
LOOKS = "ltx.looks"
#: Whether the package's files differed from the commit.
GIT_DIRTY = "git.dirty"

# Tags that MLflow itself reads.

#: The study of a run: the UI shows the run below it.
PARENT = "mlflow.parentRunId"
#: The description of a run or a study, in Markdown.
NOTE = "mlflow.note.content"
#: Who made the run, and of which kind that is.
SOURCE_NAME = "mlflow.source.name"
SOURCE_TYPE = "mlflow.source.type"
#: The commit of the package's files.
GIT_COMMIT = "mlflow.source.git.commit"
#: Of an experiment: by it the UI shows runs and not traces of language model applications.
EXPERIMENT_KIND = "mlflow.experimentKind"
#: Of an experiment: the metric that the UI's charts begin with.
PRIMARY_METRIC = "mlflow.experiment.primaryMetric.name"
#: Of a run's data: what they are used for.
DATA_CONTEXT = "mlflow.data.context"
#: Of an experiment, before a key: a view of runs that an address opens.
SHARED_VIEW = "mlflow.sharedViewState."

# Parameters of a run, besides its config.

#: Before a group or ``seed``, a tag as well: what was chosen. By these the MLflow UI groups and compares runs.
ABLATION = "ablation."
#: The seed of a run.
SEED = f"{ABLATION}seed"
#: What a run was made of besides its config: ``facts.data``, ``facts.precision``, ...
FACTS = "facts."
#: How many classes the model of a run tells apart, if it does.
NUM_CLASSES = "sizes.num_classes"
#: Ends the parameter that says which version of a plugin file a group's component came from.
PLUGIN_DIGEST = ".plugin_digest"

# Artifacts of a run.

#: The full resolved config.
CONFIG_FILE = "config.json"
#: The machine and the versions of what is installed.
ENVIRONMENT_FILE = "environment.json"
#: Where a run failed.
TRACEBACK_FILE = "traceback.txt"
#: How the package's files differed from the commit.
PATCH_FILE = "code.patch"
#: The weights that the run keeps.
WEIGHTS_FILE = "model.safetensors"
#: The weights of an adapter by themselves.
ADAPTER_FILE = "adapter.safetensors"
#: The tokenizer, of a translation that of the target.
TOKENIZER_FILE = "tokenizer.json"
#: The tokenizer of a translation's source.
SOURCE_TOKENIZER_FILE = "source_tokenizer.json"
#: The folder of the plugin files that the run used.
PLUGINS_FOLDER = "plugins"
#: The folder of its pictures.
PICTURES_FOLDER = "pictures"
#: What its model writes of itself.
SAMPLE_FILE = "sample.md"
#: The folder of what ``ltx evaluate`` adds later; before ``/<split>/...`` its metrics too.
EVALUATE_FOLDER = "evaluate"
#: What an evaluation was made with.
EVALUATION_FILE = "evaluation.json"
#: Of a translation that was decoded: sources, outputs and references, a sentence a line.
SOURCES_FILE = "source.txt"
OUTPUTS_FILE = "output.txt"
REFERENCES_FILE = "reference.txt"
#: The scores of the outputs with their signatures.
SCORES_FILE = "scores.json"
#: The best and the worst outputs.
SENTENCES_FILE = "sentences.md"

# Artifacts of a study.

#: What its sweeps asked for, in their order.
ROWS_FILE = "rows.json"
#: The report, and its tables.
REPORT_FILE = "report.md"
#: The folder of its figures: the UI lists folders before files.
FIGURES_FOLDER = "figures"
EFFECTS_FILE = "effects.csv"
COMBINATIONS_FILE = "combinations.csv"

# In the run folder.

#: The database of the default store.
DATABASE = "mlflow.db"
