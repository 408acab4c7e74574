"""Allowlist of video codecs: the common ones, and others on request.

FFmpeg has decoders for some three hundred codecs, and most of its known vulnerabilities are in codecs that nobody films
with. A file chooses its decoder, whatever its extension, so only an allowlist keeps the rare ones from running on
untrusted files.
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
        # editing, and lossless video
        "prores", "dnxhd", "cfhd", "dvvideo", "rawvideo", "v210", "ffv1", "huffyuv", "ffvhuff", "utvideo",
    }
)  # fmt: skip
"""Codecs decoded by default, by FFmpeg's codec names, such as `av1`, not its decoder names; `webp_anim` comes with
FFmpeg 9."""


_LIBRARIES = frozenset({"libdav1d", "libaom-av1", "libvpx", "libvpx-vp9"})
"""External decoders of default codecs that FFmpeg may prefer to its own; a look-up by codec name does not find them."""


def allowed_codecs(extra: Collection[str] = ()) -> frozenset[str]:
    """Codecs that may be decoded, by FFmpeg's codec names.

    Args:
        extra: Codecs besides `DEFAULT_CODECS`; a decoder name stands for its codec.

    Raises:
        ConfigError: FFmpeg has no video decoder of that name, or `extra` is a string instead of a list.
    """
    if isinstance(extra, str):
        raise ConfigError(f"allow_codecs={extra!r} must be a list of names, such as ({extra!r},)")
    return _allowed(tuple(extra)) if extra else DEFAULT_CODECS


@cache
def decoder_names(codecs: frozenset[str]) -> str:
    """Decoders of some codecs as an FFmpeg list, for `codec_whitelist`."""
    # a table of all decoders takes as long as opening twenty files
    return ",".join(sorted({*codecs, *map(_decoder_name, codecs), *_LIBRARIES}))


def _decoder_name(codec: str) -> str:
    try:
        return av.Codec(codec, "r").name
    except UnknownCodecError:  # a codec of a newer FFmpeg
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
    """Codec of every video decoder, by decoder name."""
    found = {}
    for name in av.codecs_available:
        try:
            codec = av.Codec(name, "r")
        except UnknownCodecError:  # an encoder
            continue
        if codec.type == "video":
            found[name] = codec.canonical_name
    return found
