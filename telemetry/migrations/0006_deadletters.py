"""Dead letters can be replayed by any filter; jobs count their starts and can be cancelled."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("devices", "0005_registry_versions"), ("telemetry", "0005_schemas")]

    operations = [
        migrations.AddField(
            model_name='deadletter',
            name='replayed_at',
            field=models.DateTimeField(help_text='When it was last tried again, and refused again.', null=True),
        ),
        migrations.AddField(
            model_name='export',
            name='rows',
            field=models.PositiveBigIntegerField(default=0, help_text='Rows written.'),
        ),
        migrations.AddField(
            model_name='export',
            name='starts',
            field=models.PositiveSmallIntegerField(default=0, help_text='How often a worker began it.'),
        ),
        migrations.AddField(
            model_name='replay',
            name='device_type',
            field=models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='devices.devicetype'),
        ),
        migrations.AddField(
            model_name='replay',
            name='duplicates',
            field=models.PositiveBigIntegerField(default=0, help_text='Readings that were stored already.'),
        ),
        migrations.AddField(
            model_name='replay',
            name='nobodys',
            field=models.BooleanField(default=False, help_text='Only letters of no known device.'),
        ),
        migrations.AddField(
            model_name='replay',
            name='since',
            field=models.DateTimeField(blank=True, help_text='Last received at or after this.', null=True),
        ),
        migrations.AddField(
            model_name='replay',
            name='skipped',
            field=models.PositiveBigIntegerField(default=0, help_text='Letters that cannot be replayed.'),
        ),
        migrations.AddField(
            model_name='replay',
            name='starts',
            field=models.PositiveSmallIntegerField(default=0, help_text='How often a worker began it.'),
        ),
        migrations.AddField(
            model_name='replay',
            name='tenant',
            field=models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='devices.tenant'),
        ),
        migrations.AddField(
            model_name='replay',
            name='until',
            field=models.DateTimeField(blank=True, help_text='Last received before this.', null=True),
        ),
        migrations.AddField(
            model_name='replay',
            name='why',
            field=models.CharField(blank=True, help_text='What whoever asked for it said.', max_length=200),
        ),
        migrations.AlterField(
            model_name='export',
            name='started_at',
            field=models.DateTimeField(help_text='When a worker last began it.', null=True),
        ),
        migrations.AlterField(
            model_name='export',
            name='state',
            field=models.CharField(choices=[('waiting', 'Waiting'), ('running', 'Running'), ('done', 'Done'), ('failed', 'Failed'), ('canceled', 'Cancelled')], default='waiting', max_length=10),
        ),
        migrations.AlterField(
            model_name='replay',
            name='started_at',
            field=models.DateTimeField(help_text='When a worker last began it.', null=True),
        ),
        migrations.AlterField(
            model_name='replay',
            name='state',
            field=models.CharField(choices=[('waiting', 'Waiting'), ('running', 'Running'), ('done', 'Done'), ('failed', 'Failed'), ('canceled', 'Cancelled')], default='waiting', max_length=10),
        ),
        migrations.AddIndex(
            model_name='deadletter',
            index=models.Index(fields=['reason', 'device'], include=('id', 'count', 'first_received_at', 'received_at'), name='deadletter_groups'),
        ),
        migrations.AddIndex(
            model_name='export',
            index=models.Index(fields=['tenant', '-created_at'], name='export_of_tenant'),
        ),
    ]
