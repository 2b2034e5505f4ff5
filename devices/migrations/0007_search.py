"""Devices are found by a part of their name or hardware id without a look at every one of them.

`pg_trgm` is a trusted extension: the owner of the database may create it. The indexes are built while devices speak;
what an attempt that was ended left behind is built anew.
"""

from django.contrib.postgres.indexes import GinIndex, OpClass
from django.contrib.postgres.operations import AddIndexConcurrently, TrigramExtension
from django.db import migrations
from django.db.migrations.operations.base import Operation
from django.db.models.functions import Upper


def anew(name: str, field: str) -> list[Operation]:
    left = migrations.RunSQL(f"DROP INDEX CONCURRENTLY IF EXISTS {name}", migrations.RunSQL.noop)
    return [left, AddIndexConcurrently("device", GinIndex(OpClass(Upper(field), name="gin_trgm_ops"), name=name))]


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("devices", "0006_people")]
    operations = [
        TrigramExtension(),
        *anew("device_name_parts", "name"),
        *anew("device_hardware_parts", "hardware_id"),
    ]
