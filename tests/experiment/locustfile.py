"""What the tests' Locust users ask for."""

from __future__ import annotations

from locust import HttpUser, constant, task


class Visitor(HttpUser):
    """Two pages of the small app."""

    wait_time = constant(0.02)

    @task(2)
    def front(self) -> None:
        self.client.get("/")

    @task
    def weak(self) -> None:
        self.client.get("/weak")
