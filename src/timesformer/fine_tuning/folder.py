"""The folder of a run with a probe.

config.toml        the `RunConfig`
model/             model folder of the better of probe and fine-tuned model
report.html        both, next to chance and the majority class
result.json        the same as numbers
probe/model/       the frozen model with the head of the probe
probe/features/    a file for the features of each video
fine_tuning/       the run folder of the fine-tuning
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

from timesformer.errors import ConfigError
from timesformer.outputs import writing
from timesformer.training.run_folder import RunFolder, clear
from timesformer.weights.model_folder import is_model_folder


@dataclass(frozen=True, slots=True)
class ProbeFolder:
    """Paths of the files of a run with a probe."""

    root: Path

    @property
    def run(self) -> RunFolder:
        """Config and kept model."""
        return RunFolder(self.root)

    @property
    def report(self) -> Path:
        """The page."""
        return self.root / "report.html"

    @property
    def result(self) -> Path:
        """The measures as JSON."""
        return self.root / "result.json"

    @property
    def features(self) -> Path:
        """The cached features."""
        return self.root / "probe" / "features"

    @property
    def probe(self) -> Path:
        """The model folder of the probe."""
        return self.root / "probe" / "model"

    @property
    def fine_tuning(self) -> RunFolder:
        """The run folder of the fine-tuning."""
        return RunFolder(self.root / "fine_tuning")

    @property
    def files(self) -> list[Path]:
        """Files besides those of `run`, except for the features."""
        tuned = self.fine_tuning
        return [self.report, self.result, *self.probe.glob("*"), *tuned.files, *tuned.model.glob("*")]

    def holds_probe(self) -> bool:
        """Whether the folder holds a run with a probe."""
        return self.probe.exists() or self.features.exists() or self.result.exists()


def clear_stages(folder: ProbeFolder) -> None:
    """Remove what an earlier run with a probe wrote, except for its features, which are found by what they depend on.

    Raises:
        ConfigError: `probe/model` is not a model folder, or a file cannot be removed.
    """
    with writing(folder.root, error=ConfigError):
        if folder.probe.exists() and not is_model_folder(folder.probe):
            raise ConfigError(f"{folder.probe}: is not a model folder: refusing to remove it")
        for path in (folder.report, folder.result):
            path.unlink(missing_ok=True)
        if folder.probe.exists():
            shutil.rmtree(folder.probe)
    if folder.fine_tuning.holds_run():
        clear(folder.fine_tuning)
