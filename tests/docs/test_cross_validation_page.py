"""The commands of the page about cross-validation are those of the command line, and what it promises is written."""

import re
import shlex
from pathlib import Path

from timesformer.cli.main import build_app
from timesformer.cross_validation.folder import Study

PAGE = Path(__file__).parents[2] / "docs/guides/cross-validation.md"


def test_every_command_of_the_page_is_understood():
    blocks = re.findall(r"```sh\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    commands = [line for block in blocks for line in block.replace("\\\n", " ").splitlines() if line]
    assert len(commands) == 5
    for command in commands:
        program, *words = shlex.split(command)
        assert program == "timesformer"
        build_app("train").parse_args(words, exit_on_error=False, print_error=False)


def test_the_page_names_the_files_that_are_written():
    text = PAGE.read_text("utf-8")
    for kind in ("folds", "curve"):
        for path in Study(Path("x"), kind).outputs:
            assert f"`{path.name}`" in text


def test_the_example_in_python_uses_what_exists():
    code = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    imports = "\n".join(line for line in code[0].splitlines() if line.startswith(("from", "import")))
    found: dict[str, object] = {}
    exec(imports, found)
    assert {"RunConfig", "cross_validate", "draw_curve"} <= found.keys()
