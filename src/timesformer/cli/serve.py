"""`timesformer serve`"""

import os
from pathlib import Path
from typing import Annotated

from cyclopts import Group, Parameter

from timesformer.cli.options import (
    DEFAULT_MODEL,
    FLAG,
    AllowCodecs,
    ComputeIn,
    Device,
    Model,
    Overrides,
    given_model,
    model_overrides,
)
from timesformer.cli.streams import say
from timesformer.config.compute import ComputeOptions
from timesformer.errors import ConfigError, DependencyError
from timesformer.serve.limits import ServeLimits

SERVER = Group("Server", sort_key=0)
LIMITS = Group("Limits", sort_key=5)


def serve(
    *,
    model: Model = DEFAULT_MODEL,
    overrides: Overrides = (),
    host: Annotated[str, Parameter(group=SERVER, metavar="ADDRESS")] = "127.0.0.1",
    port: Annotated[int, Parameter(group=SERVER)] = 8000,
    token_file: Annotated[Path | None, Parameter(group=SERVER, metavar="FILE")] = None,
    insecure: Annotated[bool, FLAG, Parameter(group=SERVER)] = False,
    limits: Annotated[ServeLimits, Parameter(name="*", group=LIMITS)] = ServeLimits(),  # noqa: B008
    device: Device = "auto",
    precision: ComputeIn = "fp32",
    allow_codecs: AllowCodecs = (),
) -> int:
    """Serve a model over HTTP: a page for the browser, and an API.

    Prints the URL on stdout once requests are answered. Ctrl-C or SIGTERM stops: accepted requests are answered, new
    ones refused.

    Example: `timesformer serve --model runs/demo --port 8000`

    Parameters
    ----------
    host
        Address to listen on; another one than this machine's own needs `--token-file`.
    port
        Port; 0 takes any free one.
    token_file
        File with a token on its first line, which requests must send as `Authorization: Bearer TOKEN`.
    insecure
        Listen on an address of the network without a token.
    """
    try:
        from timesformer.serve.run import Address, is_loopback
        from timesformer.serve.run import serve as run
    except ImportError as error:
        raise DependencyError(
            f"serve needs {error.name}, which is not installed: pip install 'timesformer[serve]'"
        ) from error
    if token_file is None and not insecure and not is_loopback(host):
        raise ConfigError(
            f"--host {host}: others can reach this address; name a --token-file, or pass --insecure if all of them may "
            "use the server"
        )
    from timesformer.inference.onnx_model import open_model
    from timesformer.serve.card import model_name, run_metrics

    name, changed = given_model(model), model_overrides(overrides)
    options = ComputeOptions(device=device, precision=precision, batch_size=limits.max_batch, allow_codecs=allow_codecs)
    run(
        lambda: open_model(name, **changed),
        name=model_name(name),
        metrics_of_run=run_metrics(name),
        address=Address(host=host, port=port),
        token=_token(token_file) if token_file is not None else "",
        limits=limits,
        options=options,
        on_ready=lambda url: print(url, flush=True),
    )
    say("stopped")
    return 0


def _token(file: Path) -> str:
    """The token in a file.

    Raises:
        ConfigError: The file cannot be read, or has none.
    """
    try:
        token = file.expanduser().read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "is not UTF-8"
        raise ConfigError(f"--token-file {file}: {reason}") from error
    if len(token) < 16 or not token.isascii() or not token.isprintable() or " " in token:
        raise ConfigError(f"--token-file {file}: must hold a token of at least 16 printable ASCII characters")
    if os.name == "posix" and file.expanduser().stat().st_mode & 0o007:
        say(f"--token-file {file}: other users of this machine can read it; chmod 600 it")
    return token
