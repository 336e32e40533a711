"""Django on PostgreSQL: test cases whose transactions are rolled back, and its test client."""

import pytest
from django.contrib.contenttypes.models import ContentType
from django.db import DatabaseError, transaction
from django.http import HttpResponse, JsonResponse
from django.test import TestCase
from django.urls import path


def ill(request):
    return HttpResponse(f"{ContentType.objects.count()} types")


def well(request):
    try:
        return HttpResponse(f"{ContentType.objects.count()} types")
    except DatabaseError:
        return HttpResponse("later", status=503, headers={"Retry-After": "1"})


def make(request):
    with transaction.atomic():
        ContentType.objects.create(app_label="shop", model=request.GET["model"])
    return JsonResponse({"types": ContentType.objects.filter(app_label="shop").count()})


urlpatterns = [path("ill", ill), path("well", well), path("make", make)]


class Types(TestCase):
    @classmethod
    def setUpTestData(cls):
        cls.mine = ContentType.objects.create(app_label="shop", model="cart")

    def test_ill(self):
        assert self.client.get("/ill").status_code == 200

    def test_well(self):
        assert b"types" in self.client.get("/well").content

    def test_make(self):
        assert self.client.post("/make?model=order").json() == {"types": 2}
        assert ContentType.objects.filter(model="order").exists()


class Neighbour(TestCase):
    def test_nothing_of_others_is_left(self):
        assert not ContentType.objects.filter(app_label="shop").exists()
        assert self.client.get("/well?after=all").status_code == 200


@pytest.mark.django_db
def test_with_a_fixture(client):
    assert client.get("/well?by=fixture").status_code == 200
