"""The table of the docs is current, and every row of it is tested."""

from pathlib import Path

from faults.rows import FAULTS
from faults.table import PAGE, format_page


def test_table_of_the_docs_is_current():
    assert PAGE.read_text("utf-8") == format_page(), "run: PYTHONPATH=tests python -m faults.table"


def test_every_row_is_tested():
    source = "".join(path.read_text("utf-8") for path in Path(__file__).parent.glob("test_*.py"))
    tested = [key for key in FAULTS if f'"{key}"' in source or f'"{key.partition(": ")[2]}"' in source]
    groups = {key.rpartition(" ")[0] for key in FAULTS if key not in tested}
    assert groups <= {"training", "checkpoint", "weights", "part"}  # f"training {name}", f"checkpoint {damage}", ...
