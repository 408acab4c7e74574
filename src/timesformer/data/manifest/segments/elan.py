"""Segments in annotation files of ELAN, `.eaf`: the annotations of one tier.

Times are milliseconds; `TIME_ORIGIN` of the video, its offset in ELAN, is added. Annotations that refer to others, as
those of a translation do, have no times and are not read.

Source: EAF annotation format 3.0, www.mpi.nl/tools/elan/EAF_Annotation_Format_3.0_and_ELAN.pdf.
"""

import logging
import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn
from xml.etree import ElementTree

from timesformer.bounds import MAX_LIST_BYTES, read_bounded
from timesformer.data.manifest.rows import AnnotationRow
from timesformer.data.manifest.segments.media import find_media
from timesformer.data.manifest.segments.parts import elan_files
from timesformer.data.manifest.video_finder import VideoFinder
from timesformer.data.video.paths import is_video
from timesformer.data.video.segment import Segment
from timesformer.errors import DataError, did_you_mean

logger = logging.getLogger(__name__)

_ALL = "*"


@dataclass(frozen=True, slots=True)
class _Annotation:
    tier: str
    where: str
    label: str
    segment: Segment


def read_elan(source: Path, *, tier: str = "") -> list[AnnotationRow]:
    """Read the annotations of one tier, or of all, as segments.

    The video is the first one that the file links, at its relative or absolute path, or a video of that name next to
    the file or in `videos`; without a link, the video with the name of the file.

    Args:
        source: A file, or a folder of files.
        tier: Name of the tier, or `*` for all; may be empty if only one tier has annotations with times.

    Raises:
        DataError: A file is not ELAN's, several tiers have annotations and none is named, or an annotation has no label
            or time; the message names file and annotation.
    """
    files = elan_files(source) if source.is_dir() else [source]
    finder = VideoFinder(source if source.is_dir() else source.parent, suffix=".mp4")
    found = [(file, _read_file(file, finder=finder)) for file in files]
    chosen = _choose(source, [annotation for _, (_, annotations) in found for annotation in annotations], tier=tier)
    rows: list[AnnotationRow] = []
    for file, (video, annotations) in found:
        own = [annotation for annotation in annotations if annotation.tier in chosen]
        if not own:
            logger.warning("%s: no annotation in the tier %r", file, ", ".join(chosen))
        rows += (_row(annotation, file, video=video, is_alone=file == source) for annotation in own)
    return rows


def _row(annotation: _Annotation, file: Path, *, video: Path, is_alone: bool) -> AnnotationRow:
    where = annotation.where if is_alone else f"{file.name}, {annotation.where}"
    if not annotation.label:
        raise DataError(f"{file}, {annotation.where}: has no label: write one in ELAN, or delete the annotation")
    return AnnotationRow(path=video, label=annotation.label, where=where, segment=annotation.segment)


def _choose(source: Path, annotations: Sequence[_Annotation], *, tier: str) -> Collection[str]:
    """Names of the tiers to read."""
    tiers = Counter(annotation.tier for annotation in annotations)
    names = ", ".join(f"{name}: {count}" for name, count in tiers.items()) or "none"
    if tier == _ALL:
        return tiers
    if tier:
        if tier not in tiers:
            hint = did_you_mean(tier, tiers)
            raise DataError(
                f"{source / tier} does not exist, and {source} has no tier {tier!r} with annotations; its tiers are: "
                f"{names}{hint}"
            )
        return (tier,)
    if len(tiers) > 1:
        example = source / next(iter(tiers))
        raise DataError(
            f"{source} has several tiers with annotations ({names}): name one of them, such as {example}, or all "
            f"as {source / _ALL}"
        )
    return tiers


def _read_file(file: Path, *, finder: VideoFinder) -> tuple[Path, list[_Annotation]]:
    """Video of a file and its annotations with times, of all tiers."""
    root = _parse(file)
    header = root.find("HEADER")
    units = "milliseconds" if header is None else header.get("TIME_UNITS", "milliseconds")
    if units != "milliseconds":
        raise DataError(f"{file}: its times are in {units}, not in milliseconds: save the file with a current ELAN")
    media = _video_link(root)
    origin = 0 if media is None else _milliseconds(media.get("TIME_ORIGIN", "0"), where=f"{file}, TIME_ORIGIN")
    links = [] if media is None else [media.get("RELATIVE_MEDIA_URL", ""), media.get("MEDIA_URL", "")]
    links = list(filter(None, links)) or [file.with_suffix(".mp4").name]
    return find_media(links, finder=finder), list(_annotations(root, file, origin_ms=origin))


def _annotations(root: ElementTree.Element, file: Path, *, origin_ms: int) -> Iterator[_Annotation]:
    slots = {slot.get("TIME_SLOT_ID"): slot.get("TIME_VALUE") for slot in root.iter("TIME_SLOT")}
    for tier in root.iter("TIER"):
        name = tier.get("TIER_ID", "")
        for number, annotation in enumerate(tier.iter("ALIGNABLE_ANNOTATION"), start=1):
            where = f"annotation {annotation.get('ANNOTATION_ID', number)} of tier {name!r}"
            times = [slots.get(annotation.get(f"TIME_SLOT_REF{edge}")) for edge in (1, 2)]
            if any(time is None for time in times):
                raise DataError(f"{file}, {where}: has no start or no end: align it to the video in ELAN")
            start, end = (_milliseconds(str(time), where=f"{file}, {where}") + origin_ms for time in times)
            label = " ".join((annotation.findtext("ANNOTATION_VALUE") or "").split())
            yield _Annotation(name, where, label, Segment(start / 1000, end / 1000))


def _milliseconds(text: str, *, where: str) -> int:
    if not re.fullmatch("[+-]?[0-9]{1,12}", text):
        raise DataError(f"{where}: {text!r} is not a whole number of milliseconds")
    return int(text)


def _video_link(root: ElementTree.Element) -> ElementTree.Element | None:
    """The first linked file that is a video."""
    links = root.iter("MEDIA_DESCRIPTOR")
    return next((link for link in links if _is_video(link)), None)


def _is_video(link: ElementTree.Element) -> bool:
    paths = (Path(link.get(name, "")) for name in ("RELATIVE_MEDIA_URL", "MEDIA_URL"))
    return link.get("MIME_TYPE", "").startswith("video") or any(map(is_video, paths))


class _NoDoctype(ElementTree.TreeBuilder):
    """Refuses a document type, the only way in which XML defines entities."""

    def doctype(self, name: str, pubid: str | None, system: str | None) -> NoReturn:
        raise DataError(f"has a document type ({name}), which ELAN does not write: entities are not expanded")


def _parse(file: Path) -> ElementTree.Element:
    parser = ElementTree.XMLParser(target=_NoDoctype())
    content = read_bounded(file, most=MAX_LIST_BYTES, error=DataError)
    try:
        root = ElementTree.fromstring(content, parser)
    except (ElementTree.ParseError, LookupError, ValueError) as error:  # Lookup, Value: an unknown encoding
        raise DataError(f"{file} is not an ELAN file: {error}") from error
    if root.tag != "ANNOTATION_DOCUMENT":
        raise DataError(f"{file} is not an ELAN file: its root is {root.tag!r}, not 'ANNOTATION_DOCUMENT'")
    return root
