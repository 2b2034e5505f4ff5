"""A member of staff at this room's pages of releases, keys, tokens, holds and the stop."""

import hashlib

from django.core.files.uploadedfile import SimpleUploadedFile
from django.urls import reverse

from tests.firmware import fleet
from tests.fleetportal import world


def url(model, page="changelist", *args):
    """An admin page of this room."""
    return reverse(f"admin:firmware_{model}_{page}", args=args)


def sit(client, role):
    """Somebody of a role, signed in."""
    user = world.staff(role)
    client.force_login(user)
    return user


def act(client, model, action, *rows, reason="because", **told):
    """Choose an action for rows; with a reason it is confirmed, too. Follows to the page that answers."""
    data = {"action": action, "_selected_action": [row.pk for row in rows]} | told
    data |= {"reason": reason, "confirmed": "yes"} if reason else {}
    return client.post(url(model), data, follow=True)


def offers(client, model):
    """What the list offers to do."""
    form = client.get(url(model)).context["action_form"]
    return {name for name, _ in form.fields["action"].choices if name} if form else set()


def errors(answer):
    """Field → what its form says of it; "" for the form itself."""
    found = answer.context["adminform"].form.errors
    return {("" if name == "__all__" else name): " ".join(told) for name, told in found.items()}


def said(answer):
    """The messages on a page."""
    return " ".join(str(message) for message in answer.context["messages"])


def image(data=b"image\n" * 100, name="pump-2.0.0.bin"):
    """An image to upload."""
    return SimpleUploadedFile(name, data)


def signature(data=b"image\n" * 100, image_name="pump-2.0.0.bin", key="build server", name="pump.sig"):
    """A good signature of it, as a file."""
    return SimpleUploadedFile(name, fleet.sign(hashlib.sha256(data).hexdigest(), image_name, key))
