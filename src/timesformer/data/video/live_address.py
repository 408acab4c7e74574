"""Addresses of live streams: which are read, and what FFmpeg may open for each."""

import re
from typing import NamedTuple
from urllib.parse import urlsplit

from timesformer.errors import ConfigError, did_you_mean
from timesformer.files import without_secrets

_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*):/{1,2}", re.IGNORECASE)
_PLAYLISTS = (".m3u8", ".m3u", ".mpd", ".sdp", ".pls", ".xspf")
_STREAMED = "asf,av1,avi,flv,h264,hevc,ivf,m4v,matroska,webm,mjpeg,mov,mp4,mpeg,mpegts,mpegvideo,mpjpeg,nut,obu,ogg"
"""Formats that hold the frames themselves; playlists, which name other addresses or files, are not among them."""


class Access(NamedTuple):
    """What FFmpeg may open for an address, as its lists of names."""

    protocols: str
    formats: str = _STREAMED


_ACCESS = {
    "rtsp": Access("rtsp,rtp,tcp,udp", "rtsp"),
    "rtsps": Access("rtsps,rtsp,rtp,tcp,tls,udp", "rtsp"),
    "http": Access("http,https,tcp,tls"),
    "https": Access("https,http,tcp,tls"),
    "tcp": Access("tcp"),
    "udp": Access("udp"),
    "srt": Access("srt"),
}
"""By scheme; files are in none."""

SCHEMES = tuple(_ACCESS)
"""Schemes of addresses of live streams."""


def has_scheme(text: str) -> bool:
    """Whether a text is an address of any scheme."""
    return _SCHEME.match(text) is not None


def access_to(address: str) -> Access:
    """What FFmpeg may open for an address.

    Raises:
        ConfigError: The scheme is unknown, the host is missing, or the address is one of a playlist.
    """
    public = without_secrets(address)
    match = _SCHEME.match(address)
    scheme = match[1].lower() if match else ""
    if scheme not in _ACCESS:
        known = ", ".join(f"{name}://" for name in SCHEMES)
        raise ConfigError(f"{public}: streams start with {known}{did_you_mean(scheme, SCHEMES)}")
    try:
        parts = urlsplit(address)
        has_host = bool(parts.netloc) and parts.port != 0
    except ValueError as error:
        raise ConfigError(f"{public}: not an address ({without_secrets(str(error))})") from None
    if not has_host:
        raise ConfigError(f"{public}: the address names no host, as {scheme}://host/path does")
    if parts.path.lower().endswith(_PLAYLISTS):
        raise ConfigError(
            f"{public}: playlists (HLS, DASH, SDP) are not read, because they name other addresses and files; "
            "pipe the stream: ffmpeg -i ADDRESS -c copy -f mpegts - | timesformer timeline -"
        )
    return _ACCESS[scheme]
