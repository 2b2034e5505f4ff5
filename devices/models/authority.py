"""Certificate authorities. Keys are elsewhere, encrypted (keys.py); rows hold only what is public."""

from django.db import models

from devices.tenancy import COMPANY, ScopedQuerySet


class Authority(models.Model):
    """A CA: the root, an issuing CA below it, the separate root of claim certificates, or a maker's CA."""

    class Kind(models.TextChoices):
        ROOT = "root", "Root"
        ISSUING = "issuing", "Issuing"
        CLAIM = "claim", "Claim root"
        MAKER = "maker", "Maker's CA"

    class Backend(models.TextChoices):
        NONE = "none", "Not here"  # a maker's CA, or a root whose key is kept offline
        FILE = "file", "Encrypted file"
        PKCS11 = "pkcs11", "PKCS#11 token"

    tenant_path = COMPANY
    name = models.CharField(max_length=100, unique=True)
    kind = models.CharField(max_length=10, choices=Kind)
    certificate = models.TextField(help_text="PEM.")
    issued_by = models.ForeignKey("self", models.PROTECT, null=True, blank=True, related_name="issued")
    key_backend = models.CharField(max_length=10, choices=Backend, default=Backend.FILE)
    key_name = models.CharField(max_length=100, blank=True, help_text="Name of the key in the key backend.")
    active = models.BooleanField(default=True, help_text="Issues new certificates; old ones stay valid.")
    crl_number = models.BigIntegerField(default=0)
    not_after = models.DateTimeField()
    created_at = models.DateTimeField(auto_now_add=True)
    objects = ScopedQuerySet["Authority"].as_manager()

    class Meta:
        ordering = ["kind", "-created_at"]
        verbose_name_plural = "authorities"
        constraints = [
            models.UniqueConstraint(
                fields=["kind"],
                condition=models.Q(active=True) & ~models.Q(kind="maker"),
                name="authority_one_active_per_kind",
            ),
        ]

    def __str__(self) -> str:
        return self.name
