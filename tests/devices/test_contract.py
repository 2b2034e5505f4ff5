import json
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from devices import contract
from devices.contract import CHANNELS, ContractError, Direction, Topic
from tests.devices.hostile import CORPUS

GOLDEN = sorted((Path(__file__).parent.parent / "golden").glob("*.json"))
STRUCTS = {channel.payload for channel in CHANNELS.values() if channel.payload}
FROM_DEVICES = [c.payload for c in CHANNELS.values() if c.payload and c.direction is Direction.FROM_DEVICE]
part = st.from_regex(contract.PART, fullmatch=True)
channel = st.sampled_from(sorted(CHANNELS))


@given(tenant=part, kind=part, device=part, name=channel)
def test_a_topic_is_parsed_into_what_it_was_printed_from(tenant, kind, device, name):
    topic = Topic(tenant, kind, device, name)
    assert Topic.parse(str(topic)) == topic


@given(device=part, child=part, name=st.sampled_from([c.name for c in CHANNELS.values() if c.child]))
def test_a_childs_topic_is_parsed_into_what_it_was_printed_from(device, child, name):
    topic = Topic("t", "y", device, name, child)
    assert Topic.parse(str(topic)) == topic


@pytest.mark.parametrize(
    "text",
    [
        "", "/", "t/y/d/telemetry", "/t/y/d/", "/t/y/d/unknown", "/t/y/d/telemetry/", "/t/y/d/telemetry/stored/x",
        "//y/d/telemetry", "/T/y/d/telemetry", "/t/y/-d/telemetry", "/t/y/d e/telemetry", "/t/y/d/telemetry\n",
        "/t/y/d/child/c/cmd", "/t/y/d/child//telemetry", "/t/y/d/child/c/", "/t/y/+/telemetry", "/t/y/#",
        f"/t/y/{'d' * 64}/telemetry", "/t/y/ｄ/telemetry", "$aws/things/d/shadow/get",
    ],
)  # fmt: skip
def test_refuses_what_is_no_topic_of_the_contract(text):
    with pytest.raises(ContractError) as refusal:
        Topic.parse(text)
    assert refusal.value.reason == "topic"


@given(st.text())
@example("\0")
def test_parsing_any_text_as_a_topic_gives_a_topic_or_a_contract_error(text):
    try:
        topic = Topic.parse(text)
    except ContractError as refusal:
        topic, reason = None, refusal.reason
    assert str(topic) == text if topic else reason == "topic"


@pytest.mark.parametrize(
    ("text", "device"),
    [("$aws/things/d-1/shadow/update", "d-1"), ("$aws/things/d-1/shadow/", None), ("/t/y/d-1/status", None),
     ("$aws/things/D/shadow/get", None), ("x$aws/things/d/shadow/get", None)],
)  # fmt: skip
def test_tells_whose_shadow_a_topic_is(text, device):
    assert contract.shadow_device(text) == device


def test_every_payload_has_golden_samples():
    kinds = {json.loads(path.read_text())["payload"] for path in GOLDEN}
    parts = {"CertificateProof", "Refusal", "Image", "Signature", "Preconditions", "Permit"}
    assert kinds == {struct.__name__ for struct in STRUCTS} | parts


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_a_golden_sample_is_decoded_and_encoded_to_the_same(path):
    """A sample stands for devices in the field: it is never edited, only joined by newer ones."""
    golden = json.loads(path.read_text())
    kind = getattr(contract, golden["payload"])
    for sample in golden["samples"]:
        decoded = contract.decode(json.dumps(sample).encode(), kind)
        assert json.loads(contract.encode(decoded)) == sample
        assert contract.decode(contract.encode(decoded), kind) == decoded


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_unknown_fields_are_ignored(path):
    golden = json.loads(path.read_text())
    kind = getattr(contract, golden["payload"])
    sample = golden["samples"][0]
    later = contract.decode(json.dumps(sample | {"of_a_later_version": [1, {"a": None}]}).encode(), kind)
    assert later == contract.decode(json.dumps(sample).encode(), kind)


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_a_missing_field_is_named(path):
    golden = json.loads(path.read_text())
    kind = getattr(contract, golden["payload"])
    if golden["payload"] in {"Settled", "Preconditions"}:  # all that they say may be left out
        assert contract.decode(b"{}", kind) == kind()
        return
    with pytest.raises(ContractError, match="required field") as refusal:
        contract.decode(b"{}", kind)
    assert refusal.value.reason == "field"


@pytest.mark.parametrize("name", CORPUS)
@pytest.mark.parametrize("kind", FROM_DEVICES, ids=lambda each: each.__name__)
def test_hostile_bytes_are_refused_with_a_reason(kind, name):
    with pytest.raises(ContractError) as refusal:
        contract.decode(CORPUS[name], kind)
    assert refusal.value.reason in {"encoding", "field", "nul", "too_large"}


@given(st.binary(max_size=200))
def test_decoding_any_bytes_gives_a_payload_or_a_contract_error(payload):
    try:
        outcome = contract.decode(payload, contract.Status)
    except ContractError as refusal:
        outcome = refusal
    assert isinstance(outcome, contract.Status) or (outcome.reason and outcome.detail)


def test_a_payload_of_the_largest_size_is_read_and_one_byte_more_is_not():
    most = b'{"msg_id":"0193a1b2-c3d4-8e5f-8a6b-7c8d9e0f1a2b","reason":"x"}'
    most += b" " * (contract.MAX_PAYLOAD_BYTES - len(most))
    assert contract.decode(most, contract.Refusal).reason == "x"
    with pytest.raises(ContractError) as refusal:
        contract.decode(most + b" ", contract.Refusal)
    assert refusal.value.reason == "too_large"


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"session": -1}, "$.session"), ({"session": 2**53 + 1}, "$.session"), ({"boot_id": "b" * 101}, "$.boot_id"),
        ({"state": "asleep"}, "$.state"), ({"rssi_dbm": 51}, "$.rssi_dbm"), ({"session": "7"}, "$.session"),
        ({"certificate": {"serial": "XY", "proof": ""}}, "$.certificate.serial"),
    ],
)  # fmt: skip
def test_a_wrong_field_is_refused_with_the_path_to_it(changes, path):
    status = {"state": "online", "session": 1, "boot_id": "b", "ts": 1} | changes
    with pytest.raises(ContractError) as refusal:
        contract.decode(json.dumps(status).encode(), contract.Status)
    assert (refusal.value.reason, refusal.value.path) == ("field", path)


@pytest.mark.parametrize(
    ("ts", "moment"),
    [
        (0, "1970-01-01T00:00:00+00:00"),
        (1772366400123, "2026-03-01T12:00:00.123000+00:00"),
        (-1, "1969-12-31T23:59:59.999000+00:00"),
        ("2026-03-01T13:00:00.123456+01:00", "2026-03-01T12:00:00.123000+00:00"),
        ("2026-03-01T12:00:00Z", "2026-03-01T12:00:00+00:00"),
    ],
)
def test_a_timestamp_is_a_moment_in_utc_cut_to_the_millisecond(ts, moment):
    assert contract.timestamp(ts).isoformat() == moment


@pytest.mark.parametrize(
    "ts",
    [
        "", "yesterday", "2026-03-01", "2026-03-01T12:00:00", 10**17, -(10**17), 10**400,
        "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "2026-02-30T00:00:00Z",
    ],
)  # fmt: skip
def test_a_timestamp_that_names_no_moment_is_refused(ts):
    with pytest.raises(ContractError) as refusal:
        contract.timestamp(ts)
    assert (refusal.value.reason, refusal.value.path) == ("timestamp", "$.ts")


@given(st.integers() | st.text() | st.datetimes().map(lambda moment: moment.isoformat() + "+00:00"))
def test_any_timestamp_gives_a_moment_or_a_contract_error(ts):
    try:
        outcome = contract.timestamp(ts)
    except ContractError as refusal:
        outcome = refusal
    assert outcome.reason == "timestamp" if isinstance(outcome, ContractError) else outcome.microsecond % 1000 == 0


def test_the_portal_subscribes_to_every_channel_of_devices_and_to_no_other():
    filters = contract.control_filters() + [f.split("//", 1)[1] for f in contract.telemetry_filters("g")]
    names = [each.removeprefix("/").removeprefix("+/+/+/") for each in filters]
    expected = [c.name for c in CHANNELS.values() if c.direction is Direction.FROM_DEVICE]
    expected += [f"child/+/{c.name}" for c in CHANNELS.values() if c.child]
    assert sorted(names) == sorted([*expected, "$aws/things/+/shadow/#"])
    assert all(each.startswith("$share/g//+/+/+/") for each in contract.telemetry_filters("g"))


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"state": "perhaps"}, "$.state"), ({"attempt": -1}, "$.attempt"),
        ({"download_attempts": 0}, "$.download_attempts"),
        ({"image": {"file_name": "a", "size": 1, "sha256": "XY", "url": "", "signatures": []}}, "$.image.sha256"),
        ({"rollback": {"from_version": "1.0.0", "key": "no", "signature": ""}}, "$.rollback.key"),
        ({"reboot_jitter_seconds": 86_401}, "$.reboot_jitter_seconds"),
        ({"preconditions": {"battery_percent": 101}}, "$.preconditions.battery_percent"),
    ],
)  # fmt: skip
def test_an_offer_with_a_wrong_field_is_refused_with_the_path_to_it(changes, path):
    offer = {"update_id": "0193a1b2-c3d4-8e5f-8a6b-7c8d9e0f1a2b", "attempt": 1, "state": "open"} | changes
    with pytest.raises(ContractError) as refusal:
        contract.decode(json.dumps(offer).encode(), contract.Offer)
    assert (refusal.value.reason, refusal.value.path) == ("field", path)


def test_a_proof_signs_device_session_boot_and_serial():
    """Devices in the field sign exactly these bytes."""
    assert contract.proof_statement("d-1", 7, "b|1", "0f") == b"d-1|7|b|1|0f"
