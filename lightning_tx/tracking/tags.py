"""The names of the tags and files that a run carries in MLflow."""

#: What a run in MLflow is to us: the value is ``RUN`` or ``STUDY``.
KIND = "ltx.kind"
RUN = "run"
STUDY_KIND = "study"

#: The study's name, on the parent and on each of its runs.
STUDY = "ltx.study"
IDENTITY = "ltx.identity"
#: Why a run failed or was killed, in one line.
REASON = "ltx.reason"
#: The machine that trains, or last trained, the run.
HOST = "ltx.host"
#: How often the run was taken up again.
RESUMED = "ltx.resumed"
#: ``<commit> -> <commit>`` where a run was resumed by other code than the one it began with.
CODE_CHANGED = "ltx.code_changed"
#: When a study was last opened, as an ISO 8601 time.
OPENED = "ltx.opened"
#: The overrides of the sweeps that make up a study, one sweep a line.
OVERRIDES = "ltx.overrides"

#: The primary metric by its full name, which way is good, and what every measure of the task needs (``core.measure``).
METRIC = "ltx.metric"
DIRECTION = "ltx.direction"
MEASURES = "ltx.measures"
#: JSON: facts that were others when the run was resumed, as ``{"threads": ["2", "1"]}``.
FACTS_CHANGED = "ltx.facts_changed"
#: Parameters that say what a run was made of besides its config: ``facts.data``, ``facts.precision``, ...
FACTS = "facts."
#: Ends the parameter that says which version of a plugin file a group's component came from.
PLUGIN_DIGEST = ".plugin_digest"

#: Of a study: the precision that ``auto`` stands for in all of its runs.
PRECISION = "ltx.precision"
#: The difference that matters, as it was written (``0.01`` or ``1%``).
MARGIN = "ltx.margin"
#: JSON: how many seeds each report has seen that saw new ones, and when: ``[[3, "2026-01-01T00:00:00+00:00"]]``.
LOOKS = "ltx.looks"

#: ``<key>@<step>`` of the first metric that was infinite or not a number.
NONFINITE = "nonfinite"
#: ``ablation.<group>`` and ``ablation.seed``: by these the MLflow UI groups and compares runs.
ABLATION = "ablation."
SEED = "ablation.seed"

# The names that MLflow itself reads.
PARENT = "mlflow.parentRunId"
NOTE = "mlflow.note.content"
SOURCE_NAME = "mlflow.source.name"
SOURCE_TYPE = "mlflow.source.type"
GIT_COMMIT = "mlflow.source.git.commit"
GIT_DIRTY = "git.dirty"

# Artifacts of a run.
CONFIG_FILE = "config.json"
ENVIRONMENT_FILE = "environment.json"
TRACEBACK_FILE = "traceback.txt"
PATCH_FILE = "code.patch"
#: Artifact of a study: what its sweeps asked for, in their order.
ROWS_FILE = "rows.json"
#: What of a run's config nothing in it reads, separated by commas: groups, and options as ``model.num_heads``.
UNREAD = "ltx.unread"
