from pathlib import Path

from fleetportal.embedded.watch import FileWatch


def _replace(path: Path, text: str) -> None:
    new = path.with_suffix(".new")
    new.write_text(text)
    new.replace(path)


def _watch(paths: list[Path]) -> tuple[FileWatch, list[str]]:
    acts: list[str] = []
    return FileWatch(paths, lambda: acts.append("reload")), acts


def test_acts_once_after_a_file_was_replaced(tmp_path: Path) -> None:
    path = tmp_path / "crl.pem"
    path.write_text("old")
    watch, acts = _watch([path])
    watch()
    assert acts == []
    _replace(path, "new")
    for _ in range(4):
        watch()
    assert acts == ["reload"]


def test_notices_a_file_replaced_by_one_of_the_same_size(tmp_path: Path) -> None:
    path = tmp_path / "acl"
    path.write_text("old")
    watch, acts = _watch([path])
    _replace(path, "OLD")
    watch()
    watch()
    assert acts == ["reload"]


def test_waits_until_files_stop_changing(tmp_path: Path) -> None:
    certificate, key = tmp_path / "server.pem", tmp_path / "server.key"
    certificate.write_text("old")
    key.write_text("old")
    watch, acts = _watch([certificate, key])
    _replace(key, "new")
    watch()
    _replace(certificate, "new")
    watch()
    assert acts == []
    watch()
    assert acts == ["reload"]


def test_waits_for_a_missing_or_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    path.write_text("old")
    watch, acts = _watch([path])
    path.unlink()
    watch()
    watch()
    path.touch()
    watch()
    watch()
    assert acts == []
    path.write_text("new")
    watch()
    watch()
    assert acts == ["reload"]
