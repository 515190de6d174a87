#!/usr/bin/env bash
# pytest 9.2.0 with pytest-xdist 3.8.0: `--dist loadgroup` groups nothing, and says nothing.
#
# Guess: tests that share a mark xdist_group("one") run in one worker, as the documentation of xdist promises, with any
# pytest that the package accepts (it asks for pytest>=7.0).
# Seen: with pytest 9.1.1 six such tests run in 1 worker; with pytest 9.2.0 in 2. No warning, and all tests pass.
# xdist appends "@one" to the private attribute `_nodeid` of each test, and the scheduler reads it off `nodeid`; in 9.2.0
# `nodeid` no longer comes from that attribute. A suite that keeps costly fixtures or compiled programs in one worker by
# groups pays for them once for every worker.
#
# Exit 0: as described. Exit 1: something has changed.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
cat > "$folder/test_group.py" <<'PYTHON'
import os
import time

import pytest

pytestmark = pytest.mark.xdist_group("one")


@pytest.mark.parametrize("i", range(6))
def test_where(i):
    time.sleep(0.3)
    with open(os.environ["SEEN"], "a") as file:
        file.write(os.environ["PYTEST_XDIST_WORKER"] + "\n")
PYTHON
export PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 PIP_DISABLE_PIP_VERSION_CHECK=1
for version in 9.1.1 9.2.0; do
  python3 -m venv "$folder/$version"
  "$folder/$version/bin/pip" install --quiet "pytest==$version" "pytest-xdist==3.8.0"
  SEEN="$folder/seen-$version" "$folder/$version/bin/python" -m pytest -p xdist -p no:cacheprovider -q -n 2 \
    --dist loadgroup -W error "$folder/test_group.py" > "$folder/out-$version"
  workers="$(sort -u "$folder/seen-$version" | wc -l)"
  echo "pytest $version, xdist 3.8.0: $(tail -1 "$folder/out-$version"); workers that ran the group: $workers"
done
[ "$(sort -u "$folder/seen-9.1.1" | wc -l)" = 1 ] && [ "$(sort -u "$folder/seen-9.2.0" | wc -l)" = 2 ]
