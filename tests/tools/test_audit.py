"""The audit: what it prints and its exit status when there are vulnerabilities, none, or no database."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "tools/audit.py"
CLEAN = [{"name": "av", "version": "18.1.0", "vulns": []}, {"name": "rich", "version": "15.0.0", "vulns": []}]
BAD = {"id": "PYSEC-2026-1", "fix_versions": ["18.2"], "description": "Reads past the end.\nMore."}
VULNERABLE = [{**CLEAN[0], "vulns": [BAD, {"id": "PYSEC-2026-2", "fix_versions": [], "description": None}]}, CLEAN[1]]
UNKNOWN = {"name": "rich", "skip_reason": "Dependency not found on PyPI and could not be audited: rich (15.0.0)"}
LOCK = "# head\nav==18.1.0 ; python_version < '4' \\\n    --hash=sha256:00\nrich==15.0.0 \\\n    --hash=sha256:01\n"


def audit(tmp_path: Path, answers: list[str], *, lock: str = LOCK) -> subprocess.CompletedProcess[str]:
    """Run the script with a pip-audit that gives these answers, one a call: for the probe, then for the lock."""
    for index, answer in enumerate(answers):
        (tmp_path / f"answer{index}").write_text(answer)
    (tmp_path / "pip_audit.py").write_text(
        "import sys\nfrom pathlib import Path\n"
        f"folder = Path({str(tmp_path)!r})\n"
        "calls = sorted(folder.glob('asked*'))\n"
        "(folder / f'asked{len(calls)}').write_text(Path(sys.argv[sys.argv.index('-r') + 1]).read_text())\n"
        "print((folder / f'answer{len(calls)}').read_text())\n"
        "print('Traceback', 'ConnectionError: no route', sep='\\n', file=sys.stderr)\n"
    )
    (tmp_path / "my.lock").write_text(lock)
    command = [sys.executable, str(SCRIPT), str(tmp_path / "my.lock")]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def report(dependencies: list[dict]) -> str:
    return json.dumps({"dependencies": dependencies, "fixes": []})


def test_lock_without_known_vulnerabilities_passes(tmp_path: Path):
    done = audit(tmp_path, [report(CLEAN[:1]), report(CLEAN)])
    assert (done.returncode, done.stdout) == (0, "audit: 0 known vulnerabilities in 2 packages\n")
    assert (tmp_path / "asked0").read_text() == "rich==15.0.0 \\\n    --hash=sha256:01\n"
    assert (tmp_path / "asked1").read_text().strip() == LOCK.strip()


def test_vulnerabilities_are_listed_with_the_version_that_fixes_them(tmp_path: Path):
    done = audit(tmp_path, [report(CLEAN[:1]), report(VULNERABLE)])
    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        "av 18.1.0: PYSEC-2026-1, fixed in 18.2: Reads past the end.",
        "av 18.1.0: PYSEC-2026-2, fixed in no version yet: ",
        "audit: 2 known vulnerabilities in 2 packages",
    ]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("", "ConnectionError: no route"),
        (report([UNKNOWN]), "Dependency not found on PyPI and could not be audited: rich (15.0.0)"),
        (report([]), "no package was looked up"),
    ],
)
def test_audit_without_a_database_says_that_it_was_not_done(tmp_path: Path, answer: str, reason: str):
    done = audit(tmp_path, [answer])
    expected = f"audit: not done: the vulnerability database cannot be read: {reason}\n"
    assert (done.returncode, done.stdout) == (3, expected)
    assert not (tmp_path / "asked1").exists()


def test_audit_of_some_packages_is_not_a_passed_audit(tmp_path: Path):
    done = audit(tmp_path, [report(CLEAN[:1]), report([CLEAN[0], UNKNOWN])])
    assert done.returncode == 3
    assert done.stdout.splitlines() == [
        "audit: 0 known vulnerabilities in 1 packages",
        f"audit: not done for 1 packages (rich): {UNKNOWN['skip_reason']}",
    ]


def test_file_without_pins_is_refused(tmp_path: Path):
    done = audit(tmp_path, [], lock="rich\n")
    assert done.returncode == 1
    assert "my.lock: has no pin with hashes" in done.stderr
