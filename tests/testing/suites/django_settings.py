"""The settings of ``django_suite``."""

import os

host, _, port = os.environ["BACKEND"].rpartition(":")
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": "postgres",
        "USER": "seism",
        "HOST": host,
        "PORT": port,
        "CONN_MAX_AGE": 60,
    }
}
INSTALLED_APPS = ["django.contrib.contenttypes"]
ROOT_URLCONF = "test_django_suite"
ALLOWED_HOSTS = ["*"]
SECRET_KEY = "x"
USE_TZ = True
