"""`timesformer push`"""

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter
from PIL import Image

from timesformer.cli.console import note, print_json, progress
from timesformer.cli.options import (
    DATA,
    FLAG,
    LIST,
    MODEL,
    OUTPUT,
    OUTPUT_NAMES,
    AsJson,
    Overrides,
    Overwrite,
    model_overrides,
)
from timesformer.config.presets import PRESETS
from timesformer.data.manifest.model_classes import read_manifest
from timesformer.errors import ConfigError
from timesformer.evaluation.evaluate import evaluate
from timesformer.explanation.explain import explain
from timesformer.explanation.strip import draw_strip
from timesformer.model.timesformer import TimeSformer
from timesformer.outputs import check_folder, refuse_inputs
from timesformer.publishing.card import CardFacts
from timesformer.publishing.folder import read_run, write_published
from timesformer.publishing.licenses import choose_license
from timesformer.publishing.measured import Measured, measured, read_measured
from timesformer.publishing.push import push as publish
from timesformer.weights.load import load, model_files
from timesformer.weights.model_folder import check_model_target
from timesformer.weights.source import parse_source


def push(
    source: Annotated[str, Parameter(group=MODEL)],
    name: Annotated[str, Parameter(group=OUTPUT)],
    /,
    *,
    overrides: Overrides = (),
    data: Annotated[str, Parameter(group=DATA)] = "",
    evaluation: Annotated[Path | None, Parameter(group=DATA)] = None,
    data_name: Annotated[str, Parameter(group=DATA)] = "",
    trained_on: Annotated[str, Parameter(group=DATA)] = "",
    base_model: Annotated[str, Parameter(group=DATA)] = "",
    license: Annotated[str, Parameter(group=DATA)] = "",
    limits: Annotated[str, Parameter(group=DATA)] = "",
    example: Annotated[Path | None, Parameter(group=DATA)] = None,
    also: Annotated[tuple[Literal["transformers"], ...], LIST, Parameter(group=OUTPUT)] = (),
    revision: Annotated[str | None, Parameter(group=OUTPUT)] = None,
    private: Annotated[bool, FLAG, Parameter(group=OUTPUT)] = False,
    message: Annotated[str, Parameter(group=OUTPUT)] = "Upload a TimeSformer",
    output: Annotated[Path | None, OUTPUT_NAMES] = None,
    overwrite: Overwrite = False,
    json: AsJson = False,
) -> None:
    """Publish a model on the Hugging Face hub, with its card.

    The card holds license, training, evaluation with its interval and protocol (also as `model-index`, which the hub
    shows), preprocessing, classes and limits. It shows no frame of any video unless `--example` names one. All files
    are uploaded as one commit. Log in with `hf auth login`, or set HF_TOKEN.

    Example: `timesformer push runs/mine me/mine --data videos/val.csv --license apache-2.0`

    Parameters
    ----------
    source
        Run folder, model folder, or anything else that `--model` accepts, except presets.
    name
        Hub id, `owner/name`; the repository is created if there is none.
    data
        Labeled videos on which to evaluate the model now: a folder with one subfolder per class, or a list.
    evaluation
        Output of `timesformer evaluate --json` for this model, instead of `--data`.
    data_name
        Name of the evaluated data set on the card (default: the name of `--data`).
    trained_on
        Description of the training data.
    base_model
        Hub id of the model that was fine-tuned.
    license
        License of the weights as an SPDX identifier, if the model folder does not state it.
    limits
        Further limits to state on the card.
    example
        Video to show on the card, with a heat map of what its prediction rests on.
    also
        `transformers`: write the files in its layout, so that `pipeline("video-classification")` loads them as well.
    revision
        Branch to upload to.
    private
        Create a private repository.
    message
        Message of the commit.
    output
        Write the files to this folder, to look at them, and upload nothing.
    """
    _check(source, data=data, evaluation=evaluation, data_name=data_name, output=output, overwrite=overwrite)
    for option, is_given in {"--revision": revision is not None, "--private": private}.items():
        if output is not None and is_given:
            raise ConfigError(f"{option} has no effect with --output, which uploads nothing")
    model = load(source, **model_overrides(overrides))
    model.info = replace(model.info, license=choose_license(stated=model.info.license, given=license))
    facts = CardFacts(
        name=name,
        license=model.info.license,
        for_transformers="transformers" in also,
        trained_on=trained_on,
        run=read_run(source),
        base_model=base_model,
        measured=_measure(model, data=data, evaluation=evaluation, data_name=data_name),
        limits=limits,
    )
    picture = None if example is None else _example(model, example)
    if output is not None:
        write_published(model, output, facts=facts, example=picture, overwrite=overwrite)
        print_json({"written": str(output)}) if json else print(output)
        return
    done = publish(
        model, facts, example=picture, revision=revision, private=private, message=message, overwrite=overwrite
    )
    note(f"commit {done.commit}: {name}@{done.commit} names this version for good")
    print_json(done.to_dict()) if json else print(done.url)


def _check(
    source: str, *, data: str, evaluation: Path | None, data_name: str, output: Path | None, overwrite: bool
) -> None:
    """Refuse what cannot work before the model is loaded."""
    given = parse_source(source)
    if given.name in PRESETS and not given.path.exists():
        raise ConfigError(f"{source} is a preset, whose weights are random: push a model that was trained")
    if data and evaluation is not None:
        raise ConfigError("--data evaluates the model, and --evaluation brings a result: give one of them")
    if evaluation is not None and not data_name:
        raise ConfigError("--evaluation needs --data-name, the name of the evaluated data set on the card")
    if data_name and not data and evaluation is None:
        raise ConfigError("--data-name has no effect without --data or --evaluation")
    if output is not None:
        refuse_inputs([output], [*model_files(source), *filter(None, [evaluation])])
        check_model_target(output, overwrite=overwrite)
        check_folder(output.parent)


def _measure(model: TimeSformer, *, data: str, evaluation: Path | None, data_name: str) -> Measured | None:
    labels = tuple(map(model.info.label, range(model.config.num_classes)))
    if evaluation is not None:
        return read_measured(evaluation, data=data_name, labels=labels)
    if not data:
        note("the card states no accuracy: --data evaluates the model, --evaluation takes a result")
        return None
    with progress("evaluating") as on_progress:
        result = evaluate(model, read_manifest(data, labels=model.info.labels), on_progress=on_progress)
    shown = data_name or Path(data).resolve().name
    return measured(result, data=shown)


def _example(model: TimeSformer, video: Path) -> Image.Image:
    with progress("explaining", unit="steps") as on_progress:
        return draw_strip(explain(model, video, on_progress=on_progress))
