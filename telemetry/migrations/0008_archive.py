import django.contrib.postgres.fields
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("telemetry", "0007_rollups")]
    operations = [
        migrations.AddField(
            model_name="archivedday",
            name="tenants",
            field=django.contrib.postgres.fields.ArrayField(
                base_field=models.BigIntegerField(),
                default=list,
                help_text="Rows of those who have readings in it.",
                size=None,
            ),
        ),
        migrations.AddField(
            model_name="archivedday",
            name="device_types",
            field=django.contrib.postgres.fields.ArrayField(
                base_field=models.BigIntegerField(),
                default=list,
                help_text="Rows of the types that have.",
                size=None,
            ),
        ),
        migrations.AlterField(
            model_name="archivedday",
            name="dropped_at",
            field=models.DateTimeField(
                help_text="When its readings left the database; empty while they are in it.", null=True
            ),
        ),
        migrations.AddField(
            model_name="retention",
            name="swept_on",
            field=models.DateField(
                editable=False, help_text="The last day (UTC) whose sweep came to its end.", null=True
            ),
        ),
        migrations.AddField(
            model_name="retention",
            name="reached",
            field=models.DateField(
                editable=False, help_text="Days before it are clean; empty while nothing sweeps.", null=True
            ),
        ),
        migrations.AddField(
            model_name="retention",
            name="deleted",
            field=models.PositiveBigIntegerField(
                default=0, editable=False, help_text="Readings deleted that no event tells of yet."
            ),
        ),
        migrations.AlterConstraint(
            model_name="retention",
            name="retention_once",
            constraint=models.UniqueConstraint(
                fields=("tenant", "device_type"),
                name="retention_once",
                nulls_distinct=False,
                violation_error_message="There is a rule about these devices already: change that one.",
            ),
        ),
        migrations.AlterConstraint(
            model_name="retention",
            name="retention_of_some",
            constraint=models.CheckConstraint(
                condition=models.Q(("tenant__isnull", False), ("device_type__isnull", False), _connector="OR"),
                name="retention_of_some",
                violation_error_message="Say whose: a tenant's, a device type's, or those of a tenant and type.",
            ),
        ),
    ]
