"""Look up every pin of requirements.lock in the vulnerability database of PyPI: `python tools/audit.py [LOCK]`.

Exit status: 0 no known vulnerability, 1 there are some, 3 the audit was not done, for all packages or for some. An
index that mirrors PyPI often lacks the database; pip-audit alone would then report that nothing was found. Runs
pip-audit, which must be installed for this Python. The packages are those of the lock for this Python and platform.
"""

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

LOCK = Path(__file__).resolve().parents[1] / "requirements.lock"
NOT_DONE = 3


def main(lock: Path) -> int:
    content = lock.read_text("utf-8")
    probe = re.search(r"(?m)^[\w.-]+==[^;\n]+\\(?:\n .*)+", content)
    if probe is None:
        sys.exit(f"{lock}: has no pin with hashes")
    # one package tells whether there is a database at all, without a request for each of the others
    dependencies = _audited(probe[0])
    if isinstance(dependencies, list) and all("skip_reason" in each for each in dependencies):
        dependencies = dependencies[0]["skip_reason"] if dependencies else "no package was looked up"
    if isinstance(dependencies, list):
        dependencies = _audited(content)
    if isinstance(dependencies, str):
        print(f"audit: not done: the vulnerability database cannot be read: {dependencies}")
        return NOT_DONE
    status, lines = judge(dependencies)
    print("\n".join(lines))
    return status


def _audited(requirements: str) -> list[dict[str, Any]] | str:
    """What pip-audit says about each package, or why it says nothing."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as file:
        file.write(requirements + "\n")
        file.flush()
        command = [sys.executable, "-m", "pip_audit", "--disable-pip", "--require-hashes", "-r", file.name]
        command += ["--format=json", "--progress-spinner=off", "--timeout=20"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        return json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        return (done.stderr.strip().splitlines() or ["pip-audit printed nothing"])[-1]


def judge(dependencies: Sequence[Mapping[str, Any]]) -> tuple[int, list[str]]:
    """Exit status and lines to print for the packages of a report of pip-audit."""
    skipped = [each for each in dependencies if "skip_reason" in each]
    found = [(each, vulnerability) for each in dependencies for vulnerability in each.get("vulns", ())]
    lines = [_describe(package, vulnerability) for package, vulnerability in found]
    audited = len(dependencies) - len(skipped)
    if audited:
        lines.append(f"audit: {len(found)} known vulnerabilities in {audited} packages")
    if skipped:
        names = ", ".join(each["name"] for each in skipped[:4]) + (", ..." if len(skipped) > 4 else "")
        lines.append(f"audit: not done for {len(skipped)} packages ({names}): {skipped[0]['skip_reason']}")
    return (1 if found else NOT_DONE if skipped or not audited else 0), lines


def _describe(package: Mapping[str, Any], vulnerability: Mapping[str, Any]) -> str:
    fixed = ", ".join(vulnerability.get("fix_versions", ())) or "no version yet"
    summary = (vulnerability.get("description") or "").strip().splitlines() or [""]
    return f"{package['name']} {package['version']}: {vulnerability['id']}, fixed in {fixed}: {summary[0][:160]}"


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else LOCK))
