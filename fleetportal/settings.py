"""All settings of all processes. Values come from the environment (env.py); docs/settings.md explains each."""

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from csp.constants import NONE, SELF
from django.core.exceptions import ImproperlyConfigured

from fleetportal import env, observability
from fleetportal.schedule import schedule

BASE_DIR = env.BASE_DIR
env.load_embedded()

# --- the basics -----------------------------------------------------------------------------------------------------
SECRET_KEY = env.text("SECRET_KEY", "Signs sessions and links; long and random.")
DEBUG = env.flag("DEBUG", "Django's debug pages. Never in production.", False)
ALLOWED_HOSTS = env.words("ALLOWED_HOSTS", "Host names the portal answers to.", ["localhost", "127.0.0.1", "[::1]"])
CSRF_TRUSTED_ORIGINS = env.words("CSRF_TRUSTED_ORIGINS", "Origins (scheme://host) forms may come from.", [])
PORTAL_URL = env.text(
    "PORTAL_URL",
    "Where people and apps reach the portal (https://host): who issues the tokens of apps and devices, whatever a"
    " request says. Without it there are none.",
    "",
)
SECURE_COOKIES = env.flag("SECURE_COOKIES", "Cookies over HTTPS only. False only on a laptop.", True)
BEHIND_PROXY = env.flag(
    "BEHIND_PROXY",
    "Trust X-Forwarded-Proto and the last address of X-Forwarded-For: the proxy in front has to set both itself, or"
    " whoever guesses passwords names another address each time.",
    False,
)

INSTALLED_APPS = [
    "fleetportal.apps.FleetportalConfig",
    "fleetportal.apps.FleetportalAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "django.contrib.postgres",
    "channels",
    "rest_framework",
    "drf_spectacular",
    "import_export",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "allauth.usersessions",
    "allauth.idp.oidc",
    "django_celery_beat",
    "django_structlog",
    "csp",
    "devices.apps.DevicesConfig",
    "firmware.apps.FirmwareConfig",
    "telemetry.apps.TelemetryConfig",
    "operations.apps.OperationsConfig",
]
MIDDLEWARE = [
    "fleetportal.request_log.RequestLog",
    "fleetportal.observability.MetricsMiddleware",
    "fleetportal.api_middleware.ApiMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "allauth.usersessions.middleware.UserSessionsMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "fleetportal.accounts.seen.middleware",
    "fleetportal.accounts.middleware.preferences",
    "fleetportal.accounts.middleware.SecondFactor",
    "fleetportal.accounts.middleware.TryAgain",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "csp.middleware.CSPMiddleware",
]
ROOT_URLCONF = "fleetportal.urls"
ASGI_APPLICATION = "fleetportal.asgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    }
]

# --- what is kept where ---------------------------------------------------------------------------------------------
DATABASES = {
    "default": env.database(
        "DATABASE_URL",
        "PostgreSQL: postgres://user:password@host:port/name. It has to offer pg_trgm, which the migrations switch on.",
    )
}
DATABASES["default"]["CONN_MAX_AGE"] = 60
DATABASES["default"]["CONN_HEALTH_CHECKS"] = True
# A server that vanished without a word must be noticed: a worker would otherwise wait for minutes.
DATABASES["default"].setdefault("OPTIONS", {}).update(
    {
        "connect_timeout": 5,
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": 25_000,  # keepalives say nothing while sent data waits for its acknowledgement
    }
)
DATABASE_POOL = env.number(
    "DATABASE_POOL",
    "Most database connections of one web process, shared by its requests; 0 (workers): one a thread, kept a minute.",
    0,
    least=0,
    most=1000,
)
if DATABASE_POOL:
    # Under ASGI each request has a thread of its own: kept connections would pile up until the server has no more.
    DATABASES["default"]["CONN_MAX_AGE"] = 0
    DATABASES["default"]["OPTIONS"]["pool"] = {"min_size": 1, "max_size": DATABASE_POOL, "timeout": 10}
REDIS_URL = env.text("REDIS_URL", "Valkey or Redis: redis://:password@host:port/0.")
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": REDIS_URL,
        "OPTIONS": {"socket_timeout": 2, "socket_connect_timeout": 2},
    }
}
SESSION_ENGINE = "django.contrib.sessions.backends.db"
CHANNEL_LAYERS: dict[str, Any] = {
    "default": {
        "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
        # Publications know no database numbers: two installations on one server must not hear each other.
        "CONFIG": {"hosts": [REDIS_URL], "prefix": f"live{urlsplit(REDIS_URL).path}"},
    }
}
STATIC_URL = "/static/"
STATIC_ROOT = env.path("STATIC_ROOT", "Where collectstatic puts files.", BASE_DIR / "staticfiles")
STATICFILES_DIRS = [BASE_DIR / "static"]
WHITENOISE_USE_FINDERS = not STATIC_ROOT.is_dir()

FIRMWARE_DIRECTORY = env.path(
    "FIRMWARE_DIRECTORY", "Folder of firmware files, shared by all processes.", BASE_DIR / "var" / "firmware"
)
ARCHIVE_DIRECTORY = env.path(
    "ARCHIVE_DIRECTORY",
    "Folder of the readings that left the database (Parquet): back it up.",
    BASE_DIR / "var" / "archive",
)
EXPORT_DIRECTORY = env.path(
    "EXPORT_DIRECTORY", "Folder of exported files, shared by web and jobs worker.", BASE_DIR / "var" / "exports"
)
WORK_DIRECTORY = env.path(
    "WORK_DIRECTORY",
    "Folder of the jobs worker's large temporary files: room for a day of readings as compressed CSV, twice.",
    BASE_DIR / "var" / "work",
)
MAX_ARTIFACT_BYTES = env.number(
    "MAX_ARTIFACT_BYTES", "Longest firmware file that is taken (bytes).", 2 * 1024**3, least=1, most=1024**4
)
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
    "firmware": {
        "BACKEND": "django.core.files.storage.FileSystemStorage",
        "OPTIONS": {"location": str(FIRMWARE_DIRECTORY)},
    },
    "archive": {
        "BACKEND": "django.core.files.storage.FileSystemStorage",
        "OPTIONS": {"location": str(ARCHIVE_DIRECTORY)},
    },
    "exports": {
        "BACKEND": "django.core.files.storage.FileSystemStorage",
        "OPTIONS": {"location": str(EXPORT_DIRECTORY)},
    },
}

# --- devices and their broker ---------------------------------------------------------------------------------------
MQTT_URL = env.text("MQTT_URL", "The portal's own door to the broker: mqtt://user:password@host:port.")
MQTT_INGEST_GROUP = env.secret("MQTT_INGEST_GROUP", "Secret name of the shared subscription, 22 characters or more.")
MQTT_SLOTS = env.number(
    "MQTT_SLOTS", "Ingest sessions shared by all MQTT workers; at least one a worker.", 2, least=1, most=100
)
DEVICE_MQTT_HOST = env.text("DEVICE_MQTT_HOST", "Broker host name told to devices.", "localhost")
DEVICE_MQTT_PORT = env.number(
    "DEVICE_MQTT_PORT", "Broker port told to devices (mutual TLS).", 8883, least=1, most=65_535
)
DEVICE_HTTPS_URL = env.text("DEVICE_HTTPS_URL", "Base URL of the HTTPS door told to devices.", "https://localhost:8443")
CA_DIRECTORY = env.path("CA_DIRECTORY", "Folder of the encrypted CA keys.", BASE_DIR / "var" / "ca")
CA_KEY_PASSPHRASE = env.text("CA_KEY_PASSPHRASE", "Decrypts the CA keys; a secret.")
CA_KEY_BACKEND = env.text("CA_KEY_BACKEND", "Where new CA keys are made: file or pkcs11.", "file")
PKCS11_MODULE = env.text("PKCS11_MODULE", "PKCS#11 library (.so) of the token with CA keys.", "")
PKCS11_TOKEN = env.text("PKCS11_TOKEN", "Label of that token.", "")
PKCS11_PIN = env.text("PKCS11_PIN", "User PIN of that token; a secret.", "")
if CA_KEY_BACKEND not in ("file", "pkcs11"):
    raise ImproperlyConfigured(f"CA_KEY_BACKEND={CA_KEY_BACKEND}: file or pkcs11")
if CA_KEY_BACKEND == "pkcs11" and not (PKCS11_MODULE and PKCS11_TOKEN and PKCS11_PIN):
    raise ImproperlyConfigured("CA_KEY_BACKEND=pkcs11 needs PKCS11_MODULE, PKCS11_TOKEN and PKCS11_PIN")
CLIENT_CERTIFICATE_PROXIES = env.networks(
    "CLIENT_CERTIFICATE_PROXIES",
    "Addresses or networks of proxies that end TLS for devices and are believed the header Client-Cert.",
    [],
)
BROKER_DIRECTORY = env.path(
    "BROKER_DIRECTORY",
    "Folder shared with the broker: trust, server certificate, CRL, ACL.",
    BASE_DIR / "var" / "broker",
)

CERTIFICATE_LIFETIME = env.duration("CERTIFICATE_LIFETIME", "How long a device's certificate is valid.", "365d")
CERTIFICATE_OVERLAP = env.duration(
    "CERTIFICATE_OVERLAP", "How long a replaced certificate stays valid after its successor was first seen.", "1h"
)
RECOVERY_GRACE = env.duration(
    "RECOVERY_GRACE", "How long after its expiry a certificate is still good for asking for a new one, flagged.", "30d"
)
RENEWALS_PER_MINUTE = env.number(
    "RENEWALS_PER_MINUTE", "Most devices asked per minute to renew.", 300, least=1, most=1_000_000
)
TOKEN_OVERLAP = env.duration(
    "TOKEN_OVERLAP", "How long a replaced device token stays good after its successor was first used.", "1h"
)
ROTATION_EVERY = env.duration("ROTATION_EVERY", "How often beat looks for certificates to renew or retire.", "30s")

LINK_SECONDS = env.number(
    "LINK_SECONDS", "How long a link to a firmware file is good (seconds).", 3600, least=1, most=30 * 86_400
)
DOWNLOADS_AT_ONCE = env.number(
    "DOWNLOADS_AT_ONCE",
    "Most firmware files one process of the devices' HTTPS door sends at the same time.",
    100,
    least=1,
    most=100_000,
)

# --- readings -------------------------------------------------------------------------------------------------------
INGEST_REQUESTS_PER_MINUTE = env.number(
    "INGEST_REQUESTS_PER_MINUTE",
    "Telemetry requests of one device over HTTPS per minute.",
    120,
    least=1,
    most=1_000_000,
)
TELEMETRY_PER_MINUTE = env.number(
    "TELEMETRY_PER_MINUTE",
    "Readings a device may send per minute, where its type does not say otherwise.",
    600,
    least=1,
    most=10**9,
)
TENANT_TELEMETRY_PER_MINUTE = env.number(
    "TENANT_TELEMETRY_PER_MINUTE",
    "Readings all devices of a tenant may send per minute, where the tenant does not say otherwise.",
    600_000,
    least=1,
    most=10**9,
)
HOT_DAYS = env.number(
    "HOT_DAYS",
    "Days (UTC) readings stay in the database; older ones are refused, and archived a day later.",
    400,
    least=1,
    most=36_500,
)
MINUTE_DAYS = env.number("MINUTE_DAYS", "Days the figures of each minute are kept.", 90, least=1, most=36_500)
HOUR_DAYS = env.number("HOUR_DAYS", "Days the figures of each hour are kept.", 1830, least=1, most=36_500)
EXPORT_DAYS = env.number("EXPORT_DAYS", "Days an exported file is kept.", 7, least=1, most=36_500)
DEAD_LETTER_DAYS = env.number("DEAD_LETTER_DAYS", "Dead letters are kept this long (days).", 30, least=1, most=36_500)
PARTITION_DAYS_AHEAD = env.number("PARTITION_DAYS_AHEAD", "Daily partitions made ahead (days).", 7, least=1, most=366)

# --- work in the background -----------------------------------------------------------------------------------------
CELERY_BROKER_URL = REDIS_URL
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_DEFAULT_QUEUE = "default"
CELERY_TASK_ROUTES = (
    {  # from click to cut in five seconds: these never wait behind an audit, and have their own worker
        f"devices.tasks.{name}": {"queue": "urgent"} for name in ("shut_out", "shut_out_overdue", "cut")
    }
    | {
        "firmware.tasks.tidy": {"queue": "default"},
        "firmware.tasks.*": {"queue": "rollout"},  # however many devices a campaign has, nothing else waits behind it
    }
    | {
        f"telemetry.tasks.{name}": {"queue": "jobs"}
        for name in ("replay", "export", "archive_days", "seal_days", "apply_retention")
    }
)
ROLLOUT_EVERY = env.duration("ROLLOUT_EVERY", "How often beat has campaigns looked at.", "5s")
CELERY_TASK_ACKS_LATE = True  # every task is idempotent; a killed worker's task runs again
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_MAX_RETRIES = None
CELERY_BROKER_TRANSPORT_OPTIONS = {"socket_timeout": 10, "socket_connect_timeout": 5, "visibility_timeout": 300}
CELERY_TIMEZONE = "UTC"
CELERY_BEAT_SCHEDULER = "django_celery_beat.schedulers:DatabaseScheduler"
CELERY_BEAT_MAX_LOOP_INTERVAL = 5
CELERY_BEAT_SCHEDULE = schedule(ROTATION_EVERY, ROLLOUT_EVERY)

# --- people ---------------------------------------------------------------------------------------------------------
_VALIDATORS: list[tuple[str, dict[str, Any]]] = [
    ("UserAttributeSimilarityValidator", {}),
    ("MinimumLengthValidator", {"min_length": 12}),
    ("CommonPasswordValidator", {}),
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}", "OPTIONS": options} for name, options in _VALIDATORS
]
AUTHENTICATION_BACKENDS = ["fleetportal.accounts.backend.Backend"]
ACCOUNT_LOGIN_METHODS = {"username", "email"}
ACCOUNT_ADAPTER = "fleetportal.accounts.adapter.Adapter"
ACCOUNT_CHANGE_EMAIL = True  # one address a person; a new one counts when it was confirmed
ACCOUNT_REAUTHENTICATION_REQUIRED = True  # an open browser must not be enough to take the address, and all with it
ACCOUNT_EMAIL_UNKNOWN_ACCOUNTS = False  # nobody has us write to people who have no account
ACCOUNT_EMAIL_SUBJECT_PREFIX = ""
ACCOUNT_EMAIL_NOTIFICATIONS = True
ACCOUNT_SESSION_REMEMBER = True
# Guesses are counted by signin.py, which lets people in while Valkey is away; the rest is allauth's own.
ACCOUNT_RATE_LIMITS = {"login": None, "login_failed": None}
ACCOUNT_DEFAULT_HTTP_PROTOCOL = "https" if SECURE_COOKIES else "http"
ACCOUNT_FORMS = {
    "add_email": "fleetportal.accounts.forms.AddressForm",
    "reset_password": "fleetportal.accounts.forms.ForgottenForm",
}
MFA_ADAPTER = "fleetportal.accounts.adapter.SecondFactorAdapter"
USERSESSIONS_ADAPTER = "fleetportal.accounts.adapter.SessionsAdapter"
MFA_SUPPORTED_TYPES = ["totp", "webauthn", "recovery_codes"]
MFA_FORMS = {
    "authenticate": "fleetportal.accounts.forms.CodeForm",
    "reauthenticate": "fleetportal.accounts.forms.CodeAgainForm",
    "add_webauthn": "fleetportal.accounts.forms.PasskeyForm",
}
MFA_PASSKEY_LOGIN_ENABLED = True
MFA_TOTP_ISSUER = "Fleetportal"
MFA_TOTP_TOLERANCE = 1  # a phone's clock may be half a minute off
MFA_ALLOW_UNVERIFIED_EMAIL = True  # nobody signs up by themselves, so nobody takes an address that is not theirs
MFA_WEBAUTHN_ALLOW_INSECURE_ORIGIN = not SECURE_COOKIES
MFA_REQUIRED = frozenset(
    env.words(
        "MFA_REQUIRED",
        "Who needs a second factor to see anything: staff, owner, operator, viewer, or a staff role such as"
        " security-officer.",
        [],
    )
)
IDP_OIDC_ADAPTER = "fleetportal.accounts.oidc.Adapter"
LOGIN_URL = "sign-in"
LOGIN_REDIRECT_URL = "overview"
LOGOUT_REDIRECT_URL = "sign-in"
SIGN_IN_ATTEMPTS = env.number(
    "SIGN_IN_ATTEMPTS", "Failed sign-ins per name and address in 5 minutes.", 10, least=1, most=1000
)
CLAIM_CODE_GUESSES = env.number(
    "CLAIM_CODE_GUESSES", "Wrong claim codes per person in an hour; ten times as many per address.", 10, least=1,
    most=1000,
)  # fmt: skip
vars().update(
    env.mail("EMAIL_URL", "How mail is sent: smtp+tls://user:password@host:587, filemail:///folder.", "consolemail://")
)
EMAIL_TIMEOUT = 10
DEFAULT_FROM_EMAIL = SERVER_EMAIL = env.text(
    "EMAIL_FROM", "Sender of the portal's mail.", "Fleetportal <fleetportal@localhost>"
)
LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True
USE_I18N = False
FORMAT_MODULE_PATH = ["fleetportal.formats"]

# --- hardening ------------------------------------------------------------------------------------------------------
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SECURE_SSL_REDIRECT = SECURE_COOKIES
SECURE_REDIRECT_EXEMPT = [r"^livez$", r"^readyz$", r"^metrics$"]
SECURE_HSTS_SECONDS = 31_536_000 if SECURE_COOKIES else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = SECURE_COOKIES
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if BEHIND_PROXY else None
DATA_UPLOAD_MAX_MEMORY_SIZE = 1024 * 1024
DATA_UPLOAD_MAX_NUMBER_FIELDS = 3000  # a schema of 200 metrics is one form
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [SELF],
        "img-src": [SELF, "data:"],  # Django admin's own stylesheet embeds two icons
        "object-src": [NONE],
        "base-uri": [NONE],
        "form-action": [SELF],
        "frame-ancestors": [NONE],
    }
}
API_REQUESTS_PER_MINUTE = env.number(
    "API_REQUESTS_PER_MINUTE",
    "API requests per minute of one person's session, and of each of their tokens and apps.",
    600,
    least=1,
    most=1_000_000,
)
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "fleetportal.accounts.bearer.BearerAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["devices.people.permissions.Scoped"],
    "DEFAULT_SCHEMA_CLASS": "fleetportal.openapi.inspector.Inspector",
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["devices.parsing.JsonParser"],
    "DEFAULT_THROTTLE_CLASSES": ["devices.throttles.Usual"],
    "EXCEPTION_HANDLER": "devices.problems.handle",
    "NUM_PROXIES": 1 if BEHIND_PROXY else 0,
    "DEFAULT_THROTTLE_RATES": {
        "api": f"{API_REQUESTS_PER_MINUTE}/min",
        "provision": "600/min",
        "est": "6000/min",
        "token": "10/hour",
        "access-token": "60/hour",
        "ingest": f"{INGEST_REQUESTS_PER_MINUTE}/min",
        "update": "60/min",
        "charts": "300/min",
        "upload": "60/hour",
        "keys": "600/min",
    },
    "UNAUTHENTICATED_USER": "django.contrib.auth.models.AnonymousUser",
}

SPECTACULAR_SETTINGS = {
    "OAS_VERSION": "3.1.0",
    "TITLE": "Fleetportal",
    "VERSION": "1",
    "DESCRIPTION": (
        "The fleet of your organisation for programs: devices, what they measure, their firmware and its updates.\n\n"
        "Bodies are JSON, times RFC 3339 in UTC. Lists come in pages by cursor: follow `next`. A mistake is answered "
        "with problem details (RFC 9457): decide by `error_code`, show `detail`, and tell us the `correlation_id` when "
        "you ask for help. What belongs to another organisation is answered like what does not exist: 404."
    ),
    "LICENSE": {"name": "Apache 2.0", "identifier": "Apache-2.0"},
    "SERVERS": [{"url": "/", "description": "This portal"}],
    "SCHEMA_PATH_PREFIX": "/api/v1",
    "COMPONENT_SPLIT_REQUEST": True,
    "ENUM_GENERATE_CHOICE_DESCRIPTION": False,
    "SORT_OPERATION_PARAMETERS": False,
    "PREPROCESSING_HOOKS": ["fleetportal.openapi.hooks.chosen"],
    "POSTPROCESSING_HOOKS": ["fleetportal.openapi.hooks.finished"],
    "ENABLE_DJANGO_DEPLOY_CHECK": False,  # a test looks at every warning
}

# --- seeing inside --------------------------------------------------------------------------------------------------
LOG_LEVEL = env.text("LOG_LEVEL", "Least level that is logged.", "INFO")
METRICS_TOKEN = env.text("METRICS_TOKEN", "Bearer token that /metrics asks for; empty: open.", "")
METRICS_PORT = env.number(
    "METRICS_PORT", "Port on which a Celery worker serves its own metrics; 0: none.", 0, least=0, most=65_535
)
PROMETHEUS_MULTIPROC_DIR = env.text(
    "PROMETHEUS_MULTIPROC_DIR", "Folder in which processes of one machine share their metrics.", ""
)
DEMO_PASSWORD = env.text("DEMO_PASSWORD", "Password of the demo's people; only prepare_demo reads it.", "")
DEFAULT_EXCEPTION_REPORTER_FILTER = "fleetportal.reporting.Filter"
LOGGING = observability.logging_config(LOG_LEVEL)
observability.configure()
DJANGO_STRUCTLOG_CELERY_ENABLED = True
DJANGO_STRUCTLOG_IP_LOGGING_ENABLED = False
DJANGO_STRUCTLOG_TRUST_UPSTREAM_REQUEST_ID = BEHIND_PROXY  # a stranger must not choose what joins our evidence
LOCALE_PATHS: list[Path] = []
