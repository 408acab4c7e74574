"""Which video codecs are decoded: those that people's files have, and others only where they are asked for.

FFmpeg has decoders for some three hundred codecs, and its known holes lie mostly in those that nobody films with. A
file chooses its decoder, whatever it is called; so a list of names that are allowed is what keeps the others from
running on a file of a stranger.
"""

from collections.abc import Collection
from functools import cache

import av
from av.codec.codec import UnknownCodecError

from timesformer.errors import ConfigError, did_you_mean

DEFAULT_CODECS = frozenset(
    {
        # cameras, phones and the web
        "h264", "hevc", "av1", "vp8", "vp9", "mpeg4", "mjpeg", "h263", "h263p", "mpeg1video", "mpeg2video", "theora",
        # animated pictures
        "gif", "apng", "png", "webp_anim",
        # older files: Windows Media, RealVideo, Flash, QuickTime, DivX and AVI
        "wmv1", "wmv2", "wmv3", "vc1", "rv10", "rv20", "rv30", "rv40", "flv1", "vp6", "vp6a", "vp6f", "svq1", "svq3",
        "msmpeg4v1", "msmpeg4v2", "msmpeg4v3", "cinepak", "msvideo1", "qtrle", "h261",
        # editing, and pictures without loss
        "prores", "dnxhd", "cfhd", "dvvideo", "rawvideo", "v210", "ffv1", "huffyuv", "ffvhuff", "utvideo",
    }
)  # fmt: skip
"""Codecs that are decoded unless asked otherwise, by FFmpeg's names of them and not of their decoders, such as `av1`;
`webp_anim` comes with FFmpeg 9."""


_LIBRARIES = frozenset({"libdav1d", "libaom-av1", "libvpx", "libvpx-vp9"})
"""Decoders of default codecs that FFmpeg may prefer to its own; they are not found by the name of the codec."""


def allowed_codecs(extra: Collection[str] = ()) -> frozenset[str]:
    """The codecs that may be decoded, by FFmpeg's names of them.

    Args:
        extra: Codecs beside `DEFAULT_CODECS`; the name of a decoder stands for that of its codec.

    Raises:
        ConfigError: FFmpeg has no decoder of that name for video, or `extra` is one text instead of several.
    """
    if isinstance(extra, str):
        raise ConfigError(f"allow_codecs={extra!r} must be a list of names, such as ({extra!r},)")
    return _allowed(tuple(extra)) if extra else DEFAULT_CODECS


@cache
def decoder_names(codecs: frozenset[str]) -> str:
    """The decoders of some codecs in FFmpeg's form of a list, for what it decodes while it opens a file."""
    # a table of all decoders would take as long as opening twenty files
    return ",".join(sorted({*codecs, *map(_decoder_name, codecs), *_LIBRARIES}))


def _decoder_name(codec: str) -> str:
    try:
        return av.Codec(codec, "r").name
    except UnknownCodecError:  # of a newer FFmpeg
        return codec


@cache
def _allowed(extra: tuple[str, ...]) -> frozenset[str]:
    known = _video_decoders()
    names = {*known, *known.values()}
    for name in extra:
        if name not in names:
            close = did_you_mean(name.lower(), names)
            raise ConfigError(f"allow_codecs: {name!r} is not a video codec that FFmpeg decodes{close}")
    return DEFAULT_CODECS | {known.get(name, name) for name in extra}


@cache
def _video_decoders() -> dict[str, str]:
    """Every decoder of video, with the codec that it decodes."""
    found = {}
    for name in av.codecs_available:
        try:
            codec = av.Codec(name, "r")
        except UnknownCodecError:  # an encoder
            continue
        if codec.type == "video":
            found[name] = codec.canonical_name
    return found
