import time, subprocess, sys, os
import pytest
from tests.fleet import eventually
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]
def test_counts(fleet):
    fleet.wait_ready()
    eventually(lambda: (fleet.sql("SELECT coalesce(sum(accepted),0) FROM operations_connectionminute")[0][0]) >= 3, what="accepted")
    print("ROWS", fleet.sql("SELECT minute, accepted, refused FROM operations_connectionminute"))
    print("FIND", fleet.sql("SELECT kind, severity, subject, detail FROM devices_finding"))
    print("DEAD", fleet.sql("SELECT reason, topic, detail FROM telemetry_deadletter"))
    env = os.environ | {"DATABASE_URL": fleet.run["database_url"], "REDIS_URL": fleet.run["redis_url"]}
    envfile = fleet.var / "embedded.env"
    print(envfile.exists())
    out = subprocess.run([sys.executable, "-W", "ignore", "manage.py", "audit"], env={"PATH": os.environ["PATH"], "ENV_FILE": str(envfile)}, capture_output=True, text=True)
    print(out.stdout, out.stderr[-2000:], out.returncode)
    t = time.time()
    while time.time() - t < 100:
        rows = fleet.sql("SELECT name, last_run_at, total_run_count FROM django_celery_beat_periodictask WHERE name LIKE '%%audits'")
        if any(r[2] for r in rows): break
        time.sleep(2)
    print("BEAT", rows)
    print([l for l in fleet.get("/metrics").text.splitlines() if "broker_connections" in l])
