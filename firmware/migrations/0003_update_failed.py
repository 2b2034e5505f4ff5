"""Failed updates are found by an index of their own, built while updates go on; anew, where an attempt was ended."""

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("devices", "0006_people"), ("firmware", "0002_database_rules")]
    operations = [
        migrations.RunSQL("DROP INDEX CONCURRENTLY IF EXISTS update_failed", migrations.RunSQL.noop),
        AddIndexConcurrently(
            "update",
            models.Index(
                fields=["-ended_at"],
                condition=models.Q(state__in=["failed", "timed_out", "rolled_back"]),
                name="update_failed",
            ),
        ),
    ]
