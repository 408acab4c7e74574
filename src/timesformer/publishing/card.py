"""The model card: `README.md` of a published model."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from timesformer.config.io import to_dict
from timesformer.config.run import RunConfig
from timesformer.config.schema import ClipConfig
from timesformer.evaluation.protocol import describe_protocol
from timesformer.model.cost import cost
from timesformer.model.timesformer import TimeSformer
from timesformer.publishing.licenses import hub_license
from timesformer.publishing.measured import ClassAccuracy, Measured

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

PICTURE = "accuracy.png"
EXAMPLE = "example.png"
_TAGS = ["timesformer", "video-classification", "action-recognition", "pytorch"]
_SHOWN_LABELS = 60
_WEAKEST = 5
_FEW_VIDEOS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class CardFacts:
    """What a card states that the model itself does not hold."""

    name: str
    """Hub id, `owner/name`."""
    license: str
    """License of the weights, as an SPDX identifier if there is one."""
    for_transformers: bool = False
    """Whether the files are written in the layout of `transformers`, which we read as well."""
    trained_on: str = ""
    """Training data in a sentence."""
    run: RunConfig | None = None
    """Config of the training run."""
    base_model: str = ""
    """Hub id of the model that was fine-tuned."""
    measured: Measured | None = None
    limits: str = ""
    """Further limits, in the publisher's words."""


def model_card(model: TimeSformer, facts: CardFacts, *, weights_sha256: str, pictures: Sequence[str] = ()) -> str:
    """The text of a card, metadata included.

    Args:
        model: The model.
        facts: What else is stated.
        weights_sha256: Hash of `model.safetensors`.
        pictures: Files among `PICTURE` and `EXAMPLE` that lie beside the card.
    """
    from huggingface_hub import ModelCardData

    found = hub_license(facts.license)
    data = ModelCardData(
        license=found.license,
        license_name=found.license_name,
        library_name="transformers" if facts.for_transformers else "timesformer",
        pipeline_tag="video-classification",
        tags=_TAGS,
        base_model=facts.base_model or None,
        model_name=facts.name.partition("/")[2],
        eval_results=list(_results(facts.measured)) or None,
    )
    sections = [
        _head(model, facts, pictures=pictures),
        _use(facts),
        _classes(model),
        _training(facts),
        _evaluation(facts),
        _preprocessing(model),
        _limits(model, facts),
        _files(facts, weights_sha256=weights_sha256),
    ]
    return f"---\n{data.to_yaml()}\n---\n\n" + "\n\n".join(filter(None, sections)) + "\n"


def _results(measured: Measured | None) -> "Iterator[EvalResult]":
    if measured is None:
        return
    from huggingface_hub import EvalResult

    arguments = {"protocol": measured.protocol, "num_videos": measured.num_videos, "num_groups": measured.num_groups}
    interval = {"interval_95": list(measured.top1_interval), "interval_method": measured.interval_method}
    for name, value, extra in (
        (f"Top-1 accuracy, 95 % interval {measured.interval}", measured.top1, interval),
        ("Top-5 accuracy", measured.top5, {}),
        ("Mean accuracy over classes", measured.mean_class, {}),
    ):
        yield EvalResult(
            task_type="video-classification",
            dataset_type="custom",
            dataset_name=measured.data,
            metric_type="accuracy",
            metric_name=name,
            metric_value=value,
            metric_args=arguments | extra,
        )


def _head(model: TimeSformer, facts: CardFacts, *, pictures: Sequence[str]) -> str:
    config, info = model.config, model.info
    scheme = config.scheme if isinstance(config.scheme, str) else " > ".join("+".join(step) for step in config.scheme)
    result = ""
    if (measured := facts.measured) is not None:
        result = f" It classifies {measured.top1:.1%} of {measured.num_videos} videos of {measured.data} correctly."
    origin = f"\n\nOrigin of the weights: {_line(info.source)}" if info.source else ""
    height, width = config.image_size
    shown = "".join(f"\n\n![{_ALT[name]}]({name})" for name in pictures)
    return (
        f"# {facts.name.partition('/')[2]}\n\n"
        f"A TimeSformer (Bertasius, Wang, Torresani, ICML 2021) that classifies videos into {config.num_classes} "
        f"classes with space-time attention alone.{result}\n\n"
        f"| | |\n|---|---|\n"
        f"| attention | {scheme} |\n"
        f"| input | {config.num_frames} frames of {height} x {width} |\n"
        f"| size | {config.embed_dim} wide, {config.depth} blocks, {config.num_heads} heads, "
        f"{cost(config).parameters / 1e6:.1f} M parameters |\n"
        f"| license | {_line(facts.license)} |{origin}{shown}"
    )


_ALT = {PICTURE: "accuracy of each class", EXAMPLE: "an example: what the prediction rests on"}


def _use(facts: CardFacts) -> str:
    text = (
        "## Use\n\n"
        "```sh\n"
        "pip install timesformer\n"
        f"timesformer predict clip.mp4 --model {facts.name}\n"
        "```\n\n"
        "```python\n"
        "import timesformer as tsf\n\n"
        f'prediction = tsf.Predictor("{facts.name}")("clip.mp4")\n'
        "print(prediction.label, prediction.probability)\n"
        "```\n\n"
        f"`{facts.name}@COMMIT` names one version for good."
    )
    if facts.for_transformers:
        text += (
            "\n\nWith `transformers`:\n\n"
            "```python\n"
            "from transformers import pipeline\n\n"
            f'classify = pipeline("video-classification", model="{facts.name}")\n'
            'print(classify("clip.mp4", top_k=5))\n'
            "```\n\n"
            "The pipeline chooses frames by itself: the first ones, or ones spread over the video if torchvision is "
            "installed. Its answers equal those above for the same frames."
        )
    return text


def _classes(model: TimeSformer) -> str:
    labels = model.info.labels
    if not labels:
        return f"## Classes\n\n{model.config.num_classes} classes without names."
    shown = ", ".join(map(_line, labels[:_SHOWN_LABELS]))
    rest = f", and {len(labels) - _SHOWN_LABELS} more in the model's files" if len(labels) > _SHOWN_LABELS else ""
    return f"## Classes\n\n{shown}{rest}."


def _training(facts: CardFacts) -> str:
    lines = [facts.trained_on.strip() or "The publisher did not describe the training data."]
    if (run := facts.run) is not None:
        start = "from pretrained weights" if run.init_from else "from random weights"
        lines.append(
            f"Trained {start} for {run.epochs} epoch{'s' * (run.epochs > 1)} in batches of {run.batch_size} clips, "
            f"{run.precision}, seed {run.seed}. Settings of optimizer and augmentation other than the defaults:"
        )
        settings = _settings(run)
        table = "\n".join(f"| {name} | {_line(str(value))} |" for name, value in settings.items())
        lines.append(f"| setting | value |\n|---|---|\n{table}")
    return "## Training\n\n" + "\n\n".join(lines)


def _settings(run: RunConfig) -> dict[str, object]:
    """Settings of optimizer and augmentation that were chosen, and the rate."""
    given, plain = ({**to_dict(each.optim), **to_dict(each.augment)} for each in (run, RunConfig()))
    return {name: value for name, value in given.items() if name in ("optimizer", "lr") or value != plain[name]}


def _evaluation(facts: CardFacts) -> str:
    measured = facts.measured
    if measured is None:
        return "## Evaluation\n\nThe publisher reported no evaluation."
    skipped = f", {measured.num_skipped} more could not be decoded" if measured.num_skipped else ""
    groups = f" in {measured.num_groups} groups (persons, cameras or recordings)" if measured.num_groups else ""
    return (
        "## Evaluation\n\n"
        f"Data: {_line(measured.data)}, {measured.num_videos} videos{groups}{skipped}. "
        f"Protocol: {measured.protocol}.\n\n"
        "| metric | value | 95 % interval |\n|---|--:|---|\n"
        f"| top-1 accuracy | {measured.top1:.1%} | {measured.interval} |\n"
        f"| top-5 accuracy | {measured.top5:.1%} | |\n"
        f"| mean accuracy over classes | {measured.mean_class:.1%} | |\n"
        f"| expected calibration error | {measured.calibration_error:.1%} | |\n\n"
        "The interval covers the choice of test videos, not that of training videos or seeds."
    )


def _preprocessing(model: TimeSformer) -> str:
    clip, plain = model.info.clip, to_dict(ClipConfig())
    fields = to_dict(clip)
    always = {"mean", "std", "channel_order", "fusion", "sampling"}
    rows = {name: value for name, value in fields.items() if name in always or value != plain[name]}
    table = "\n".join(f"| {name} | {_line(str(value))} |" for name, value in rows.items())
    return (
        f"## Preprocessing\n\n{describe_protocol(model.config, clip)}. Frames are resized with antialiasing so that "
        "the short side fits the crop, values are scaled to 0 to 1, then normalized. The model's files hold all of "
        "this.\n\n"
        f"| field | value |\n|---|---|\n{table}"
    )


def _limits(model: TimeSformer, facts: CardFacts) -> str:
    return "## Limits\n\n" + "\n".join(f"- {text}" for text in _known_limits(model, facts))


def _known_limits(model: TimeSformer, facts: CardFacts) -> Iterator[str]:
    if "background" not in model.info.labels:
        yield (
            f"The set of classes is closed: every video gets one of the {model.config.num_classes} classes, also one "
            "that shows none of them."
        )
    measured = facts.measured
    if measured is None:
        yield "Its accuracy is not known."
    else:
        yield from _measured_limits(measured)
    if model.info.clip_seconds is not None:
        yield (
            f"It was trained on videos of about {model.info.clip_seconds:.3g} s; of longer ones, use "
            "`timesformer timeline`."
        )
    if facts.limits.strip():
        yield facts.limits.strip()


def _measured_limits(measured: Measured) -> Iterator[str]:
    if measured.num_groups == 0:
        yield (
            "The evaluation does not say whether persons, cameras or places of its videos occur in the training "
            "videos; on unseen ones the accuracy may be lower."
        )
    if measured.num_videos < _FEW_VIDEOS:
        yield f"The evaluation rests on {measured.num_videos} videos only: read the interval, not the percentage."
    weakest = [each for each in weakest_classes(measured.classes) if each.recall < measured.top1][:_WEAKEST]
    if weakest:
        named = ", ".join(f"{_line(each.name)} ({each.recall:.0%} of {each.support})" for each in weakest)
        yield f"Least accurate classes: {named}."


def weakest_classes(classes: Sequence[ClassAccuracy]) -> list[ClassAccuracy]:
    """Classes in ascending order of recall, those with more videos first among equals."""
    return sorted(classes, key=lambda each: (each.recall, -each.support))


def _files(facts: CardFacts, *, weights_sha256: str) -> str:
    layout = (
        "The files are in the layout of `transformers`, with `timesformer.json` for what that cannot express."
        if facts.for_transformers
        else "The files are a model folder of `timesformer`."
    )
    return f"## Files\n\n{layout} SHA-256 of `model.safetensors`: `{weights_sha256}`"


def _line(text: str) -> str:
    """A text that cannot break a table or a heading."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")
