import json
from pathlib import Path
from uuid import UUID

from agent.ledger import Ledger
from agent.outbox import Kept

KEPT = Kept("d-1", UUID(int=1).bytes, b'{"msg_id":"x","ts":17,"schema_version":1,"values":{}}')


def test_a_line_names_device_message_and_time(tmp_path: Path) -> None:
    Ledger(tmp_path / "ledger").write([KEPT])
    assert json.loads((tmp_path / "ledger").read_text()) == {"device_id": "d-1", "msg_id": str(UUID(int=1)), "ts": 17}


def test_a_torn_line_is_cut_off_at_the_next_start(tmp_path: Path) -> None:
    (tmp_path / "ledger").write_text('{"whole":1}\n{"torn')
    Ledger(tmp_path / "ledger").write([KEPT])
    first, second = map(json.loads, (tmp_path / "ledger").read_text().splitlines())
    assert first == {"whole": 1}
    assert second["ts"] == 17
