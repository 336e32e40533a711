"""The worker of ``rq_app``: nothing of Seism is imported here."""

import os

import redis
import rq

broker = redis.Redis.from_url(os.environ["BROKER"], socket_timeout=None)
rq.Worker(["jobs"], connection=broker).work(with_scheduler=True, logging_level="WARNING")
