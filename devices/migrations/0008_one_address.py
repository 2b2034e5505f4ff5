"""An e-mail address signs in one active person: whoever saves it second is refused, also in the same moment."""

from django.db import migrations
from django.db.models import Count
from django.db.models.functions import Lower


def check(apps, schema_editor):
    """Two people with one address have to be told apart by somebody who knows them."""
    people = apps.get_model("auth", "User").objects.filter(is_active=True).exclude(email="")
    twice = people.values(address=Lower("email")).annotate(n=Count("pk")).filter(n__gt=1)
    found = sorted(row["address"] for row in twice)
    if found:
        raise ValueError(
            "These e-mail addresses belong to several active people, so sign-in by address would let in any of them: "
            f"{', '.join(found)}. Give each person an address of their own (or none), in the admin of the version that "
            "runs, or: UPDATE auth_user SET email = '…' WHERE username = '…'. Then migrate again."
        )


class Migration(migrations.Migration):
    dependencies = [("devices", "0007_search"), ("auth", "0012_alter_user_first_name_max_length")]
    operations = [
        migrations.RunPython(check, migrations.RunPython.noop),
        migrations.RunSQL(
            "CREATE UNIQUE INDEX user_one_address ON auth_user (lower(email)) WHERE is_active AND email <> ''",
            "DROP INDEX user_one_address",
        ),
        # As they are looked for.
        migrations.RunSQL(
            "UPDATE auth_user SET email = lower(email) WHERE email <> lower(email)", migrations.RunSQL.noop
        ),
    ]
