"""ELAN annotation files."""

import mimetypes
import os
import re
import xml.etree.ElementTree as ET
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from operator import itemgetter
from pathlib import Path
from urllib.parse import quote

from timesformer.errors import DataError
from timesformer.timelines.formats.milliseconds import Cue, are_overlapping, to_milliseconds
from timesformer.timelines.timeline import LabeledSegment, Source, Timeline

TIER = "timesformer"
"""The tier of all segments, if no two of them overlap."""
_SEGMENTS, _SCORES = "segments", "scores"
_CONTROL = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_XSI = "http://www.w3.org/2001/XMLSchema-instance"


def to_elan(timeline: Timeline, *, folder: Path) -> str:
    """EAF 3.0: labels as annotations, and their mean probability in a dependent tier (symbolic association).

    Segments that do not overlap are in one tier, `timesformer`. In overlapping mode, or if two overlap, each class that
    occurs has a tier, named like it. Times are in milliseconds.

    Args:
        folder: Folder of the file; the video's address is given relative to it, too.

    Raises:
        DataError: A class name has a control character, which XML cannot express.

    Source: ELAN Annotation Format 3.0, https://www.mpi.nl/tools/elan/EAF_Annotation_Format_3.0_and_ELAN.pdf
    """
    for label in timeline.classes:
        check_xml(label)
    document = _document(timeline.source, folder)
    tiers = {name: to_milliseconds(segments) for name, segments in _tiers(timeline).items()}
    slots = _add_times(document, [cue for cues in tiers.values() for cue in cues])
    for name, cues in tiers.items():
        _add_tiers(document, cues, name=name, scores=_unused(f"{name} (score)", tiers), slots=slots)
    _add_types(document)
    ET.indent(document)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(document, encoding="unicode") + "\n"


def _tiers(timeline: Timeline) -> dict[str, list[LabeledSegment]]:
    segments = list(timeline.segments)
    is_overlapping = timeline.settings.get("mode") == "overlapping" or are_overlapping(segments)
    if not is_overlapping or not segments:
        return {TIER: segments}
    labels = sorted({segment.label for segment in segments}, key=timeline.classes.index)
    return {label: [segment for segment in segments if segment.label == label] for label in labels}


def _document(source: Source, folder: Path) -> ET.Element:
    attributes = {"AUTHOR": "timesformer", "DATE": datetime.now(UTC).isoformat(timespec="seconds"), "FORMAT": "3.0"}
    schema = {f"{{{_XSI}}}noNamespaceSchemaLocation": "http://www.mpi.nl/tools/elan/EAFv3.0.xsd"}
    ET.register_namespace("xsi", _XSI)
    document = ET.Element("ANNOTATION_DOCUMENT", {**attributes, "VERSION": "3.0", **schema})
    header = ET.SubElement(document, "HEADER", {"MEDIA_FILE": "", "TIME_UNITS": "milliseconds"})
    if os.path.lexists(source.path):
        video = Path(os.path.abspath(source.path))
        relative = Path(os.path.relpath(video, os.path.abspath(folder))).as_posix()
        media = {
            "MEDIA_URL": video.as_uri(),
            "MIME_TYPE": mimetypes.guess_type(video.name)[0] or "unknown",
            "RELATIVE_MEDIA_URL": f"./{quote(os.fsencode(relative))}",
        }
        ET.SubElement(header, "MEDIA_DESCRIPTOR", media)
    return document


def _add_times(document: ET.Element, cues: Sequence[Cue]) -> dict[tuple[Cue, int], str]:
    """Add a time slot for each end of each cue, in ascending order, and return its name."""
    order = ET.SubElement(document, "TIME_ORDER")
    slots = {}
    for number, (time, cue) in enumerate(
        sorted(((cue[end], cue) for cue in cues for end in (0, 1)), key=itemgetter(0)), 1
    ):
        slots[cue, time] = f"ts{number}"
        ET.SubElement(order, "TIME_SLOT", {"TIME_SLOT_ID": f"ts{number}", "TIME_VALUE": str(time)})
    return slots


def _add_tiers(
    document: ET.Element, cues: Sequence[Cue], *, name: str, scores: str, slots: Mapping[tuple[Cue, int], str]
) -> None:
    """Add a tier of labels, and that of their scores."""
    labels = ET.SubElement(document, "TIER", {"LINGUISTIC_TYPE_REF": _SEGMENTS, "TIER_ID": name})
    dependent = {"LINGUISTIC_TYPE_REF": _SCORES, "PARENT_REF": name, "TIER_ID": scores}
    tier = ET.SubElement(document, "TIER", dependent)
    for cue in cues:
        times = {"TIME_SLOT_REF1": slots[cue, cue.start], "TIME_SLOT_REF2": slots[cue, cue.end]}
        number = times["TIME_SLOT_REF1"].removeprefix("ts")
        _annotate(labels, "ALIGNABLE_ANNOTATION", f"a{number}", times, cue.segment.label)
        score = f"{cue.segment.score:.4f}"
        _annotate(tier, "REF_ANNOTATION", f"s{number}", {"ANNOTATION_REF": f"a{number}"}, score)


def _annotate(tier: ET.Element, kind: str, name: str, attributes: dict[str, str], value: str) -> None:
    annotation = ET.SubElement(ET.SubElement(tier, "ANNOTATION"), kind, {"ANNOTATION_ID": name, **attributes})
    ET.SubElement(annotation, "ANNOTATION_VALUE").text = value


def _add_types(document: ET.Element) -> None:
    kinds = {"GRAPHIC_REFERENCES": "false", "LINGUISTIC_TYPE_ID": _SEGMENTS, "TIME_ALIGNABLE": "true"}
    ET.SubElement(document, "LINGUISTIC_TYPE", kinds)
    dependent = {"LINGUISTIC_TYPE_ID": _SCORES, "TIME_ALIGNABLE": "false", "CONSTRAINTS": "Symbolic_Association"}
    ET.SubElement(document, "LINGUISTIC_TYPE", {**kinds, **dependent})
    text = "1-1 association with a parent annotation"
    ET.SubElement(document, "CONSTRAINT", {"DESCRIPTION": text, "STEREOTYPE": "Symbolic_Association"})


def _unused(name: str, taken: Collection[str]) -> str:
    while name in taken:
        name += "*"
    return name


def check_xml(label: str) -> None:
    """Refuse a class name that XML cannot express.

    Raises:
        DataError: The name has a control character.
    """
    if _CONTROL.search(label):
        raise DataError(f"class {label!r} cannot be written to an ELAN file: it has a control character; rename it")
