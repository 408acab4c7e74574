"""Licenses as the hub names them."""

import re
from typing import NamedTuple

from timesformer.errors import ConfigError

_NAMES = (
    "afl-3.0 agpl-3.0 apache-2.0 apple-amlr artistic-2.0 bigcode-openrail-m bigscience-bloom-rail-1.0 "
    "bigscience-openrail-m bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear bsl-1.0 c-uda cc cc-by-2.0 cc-by-2.5 "
    "cc-by-3.0 cc-by-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 cc-by-nc-sa-2.0 "
    "cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cc-by-nd-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc0-1.0 cdla-permissive-1.0 "
    "cdla-permissive-2.0 cdla-sharing-1.0 creativeml-openrail-m ecl-2.0 epl-1.0 epl-2.0 etalab-2.0 eupl-1.1 eupl-1.2 "
    "fair-noncommercial-research-license gemma gfdl gpl gpl-2.0 gpl-3.0 intel-research isc lgpl lgpl-2.1 lgpl-3.0 "
    "lgpl-lr llama2 llama3 lppl-1.3c mit mpl-2.0 ms-pl ncsa odbl odc-by ofl-1.1 openrail openrail++ osl-3.0 "
    "pddl postgresql unlicense wtfpl zlib unknown"
)
"""Source: the hub's documentation of repository licenses, 2026."""
_HUB_IDS = frozenset(_NAMES.split())
_UNSTATED = ("", "unspecified", "unknown")


class HubLicense(NamedTuple):
    """Fields of a card: an identifier that the hub knows, or `other` with a name."""

    license: str
    license_name: str | None = None


def hub_license(text: str) -> HubLicense:
    """The fields for a license that is stated as an SPDX identifier or as free text."""
    identifier = re.sub(r"-(only|or-later)$", "", text.strip().lower())
    if identifier in _HUB_IDS:
        return HubLicense(identifier)
    return HubLicense("other", re.sub(r"[^a-z0-9.]+", "-", identifier).strip("-") or "see-license")


def choose_license(*, stated: str, given: str) -> str:
    """The license under which weights are published.

    Args:
        stated: License that the model folder states.
        given: License that the publisher names; empty if none is named.

    Raises:
        ConfigError: Neither is a license, or they differ.
    """
    if stated.strip().lower() in _UNSTATED:
        if not given:
            raise ConfigError(
                "the model folder does not state the license of its weights: pass license (--license), such as "
                "apache-2.0, or unknown; weights that were fine-tuned keep the terms of those they started from"
            )
        return given
    if given and given.strip().lower() != stated.strip().lower():
        raise ConfigError(
            f"license={given!r} differs from that of the model folder, {stated!r}: leave it out, or correct "
            "`license` in config.json if that is wrong"
        )
    return stated
