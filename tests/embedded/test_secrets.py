import json
import stat
from pathlib import Path

import pytest

from fleetportal.embedded import secrets


def test_file_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    secrets.load(tmp_path / "secrets.json")
    assert stat.S_IMODE((tmp_path / "secrets.json").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["secrets.json"]


def test_values_stay_the_same(tmp_path: Path) -> None:
    first = secrets.load(tmp_path / "secrets.json")
    assert secrets.load(tmp_path / "secrets.json") == first


def test_values_are_long_and_all_different(tmp_path: Path) -> None:
    values = secrets.load(tmp_path / "secrets.json")
    assert len(set(values.values())) == len(values)
    # 43 characters of base64 hold 256 bits.
    assert all(len(value) >= 43 for name, value in values.items() if name != secrets.DEMO_PASSWORD)


def test_a_secret_that_is_new_is_added(tmp_path: Path) -> None:
    path = tmp_path / "secrets.json"
    path.write_text(json.dumps({"secret_key": "kept"}))
    values = secrets.load(path)
    assert values["secret_key"] == "kept"
    assert set(values) == {*secrets.NAMES, secrets.DEMO_PASSWORD}


def test_a_damaged_file_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "secrets.json"
    path.write_text("{")
    with pytest.raises(ValueError, match=r"secrets\.json"):
        secrets.load(path)
    assert path.read_text() == "{"
