import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import timesformer as tsf
from people_runs import TINY
from timesformer.files import sha256_of
from timesformer.people.pretrain import pretrain_people

ROOT = Path(__file__).parents[2]
CALL = """
import json, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import package_people
run, folder, card = map(Path, sys.argv[2:])
print(json.dumps(package_people.package(run, folder=folder, card=card)))
"""


def test_a_run_is_packaged_in_half_precision_and_its_hash_goes_into_the_card(tmp_path: Path):
    run = pretrain_people(replace(TINY, steps=1, output=str(tmp_path / "run")))
    card = tmp_path / "card.md"
    card.write_text("# Card\n\nSHA-256 of the weights: `0`\n\nThe end.\n")
    paths = (ROOT / "tools", run, tmp_path / "people", card)
    done = subprocess.run([sys.executable, "-c", CALL, *map(str, paths)], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    digest = sha256_of(tmp_path / "people/model.safetensors")
    assert found["sha256"] == digest
    assert card.read_text() == f"# Card\n\nSHA-256 of the weights: `{digest}`\n\nThe end.\n"
    assert 0 < found["relative_change_of_features"] < 0.01
    assert (run / "model/model.safetensors").stat().st_size > 1.5 * found["bytes"]
    assert tsf.load(tmp_path / "people").info == tsf.load(run).info
