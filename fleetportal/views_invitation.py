"""Where the link of an invitation leads: join, with an account that is there or a new one."""

from allauth.account.utils import perform_login
from django import forms
from django.contrib import messages
from django.contrib.auth import get_user_model
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters, sensitive_variables
from django.views.decorators.http import require_http_methods, require_safe

from devices.models import Invitation
from devices.people import addresses, invitations
from devices.people.invitations import InvitationError

KEPT = "invitation"
"""Session key: the secret of the link somebody came by."""


class AccountForm(forms.ModelForm):  # type: ignore[type-arg]  # it takes no parameters at run time
    """An account for somebody new."""

    password = forms.CharField(
        strip=False,
        max_length=1000,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
        help_text="12 characters or more; a few words that only you put together are good.",
    )

    class Meta:
        model = get_user_model()
        fields = ["username", "first_name", "last_name"]
        help_texts = {"username": "You sign in with it, or with your e-mail address."}

    def clean_username(self) -> str:
        """Names differ by more than their case: people read them."""
        name: str = self.cleaned_data["username"]
        if get_user_model().objects.filter(username__iexact=name).exists():
            raise ValidationError("This name is taken.")
        return name

    def _post_clean(self) -> None:
        """The password is judged beside the name and the address, which the instance has only now."""
        super()._post_clean()  # type: ignore[misc]
        if "password" in self.cleaned_data:
            try:
                validate_password(self.cleaned_data["password"], self.instance)
            except ValidationError as error:
                self.add_error("password", error)


@never_cache
@require_safe
@sensitive_variables("token")
def arrive(request: HttpRequest, token: str) -> HttpResponse:
    """Take the secret out of the address: pages, logs and other sites' statistics must not get to see it."""
    try:
        invitations.find(token, timezone.now())
    except InvitationError as error:
        answer = render(request, "customers/invitation_gone.html", {"detail": error.detail}, status=404)
    else:
        request.session[KEPT] = token
        answer = redirect("invitation")
    answer["Referrer-Policy"] = "no-referrer"
    return answer


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
@sensitive_post_parameters("password")
def invitation(request: HttpRequest) -> HttpResponse:
    """Who invites to what; a POST joins."""
    token = request.session.get(KEPT, "")
    try:
        row = invitations.find(token, timezone.now())
        if request.user.is_authenticated:
            return _as_member(request, row, token)
        if invitations.has_account(row):
            return render(request, "customers/invitation.html", {"invitation": row, "known": True})
        return _as_somebody_new(request, row, token)
    except InvitationError as error:
        if error.code == "invitation_unknown":
            request.session.pop(KEPT, None)
        return render(request, "customers/invitation_gone.html", {"detail": error.detail}, status=error.status)


def _as_member(request: HttpRequest, row: Invitation, token: str) -> HttpResponse:
    if request.method != "POST":
        return render(request, "customers/invitation.html", {"invitation": row})
    invitations.accept(token, request.user, timezone.now())
    request.session.pop(KEPT, None)
    messages.success(request, f"Welcome to {row.tenant}.")
    return redirect("overview")


def _as_somebody_new(request: HttpRequest, row: Invitation, token: str) -> HttpResponse:
    person = get_user_model()(email=row.email)
    sent = request.POST if request.method == "POST" else None
    form = AccountForm(sent, instance=person, initial={"username": row.email.partition("@")[0]})
    if sent is not None and form.is_valid():
        try:
            with transaction.atomic():
                user = form.save(commit=False)
                user.set_password(form.cleaned_data["password"])
                user.save()
                addresses.put(user)
                invitations.accept(token, user, timezone.now())
        except IntegrityError:
            form.add_error("username", "This name is taken.")  # somebody else was first in this moment
        else:
            request.session.pop(KEPT, None)
            messages.success(request, f"Welcome to {row.tenant}.")
            answer: HttpResponse = perform_login(request, user, email_verification="none")
            return answer
    context = {"invitation": row, "form": form}
    return render(request, "customers/invitation.html", context, status=400 if sent is not None else 200)
