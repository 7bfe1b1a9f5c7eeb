"""The peer of P16 does its work: it finds the changes, however many answers fail."""

import asyncio

from benchmarks.p16_sweep import _plain_sockets
from benchmarks.peers.threaded_sensor import Sensor
from tests.openedx_service import CLIENT, OUTLINES, running


def test_the_sensor_finds_what_was_published_again() -> None:
    with running(120) as service:
        known = {course: service.version(course) for course in service.ids}
        published = service.ids[5:11]
        service.change(publish=published)
        service.faults({"match": {"path": OUTLINES}, "count": None, "share": 0.1, "status": 503})
        changed, ticks = Sensor(service.lms, *CLIENT).sweep(known)
        assert changed == {course: service.version(course) for course in published}
        assert ticks >= 2
        assert len(service.requests("course_outline")) > 120


def test_the_limit_asks_for_every_outline_once() -> None:
    with running(50) as service:
        header = Sensor(service.lms, *CLIENT).session.headers["Authorization"]
        assert asyncio.run(_plain_sockets(service.lms, service.ids, header)) > 0
        assert sorted(one["path"].rpartition("/")[2] for one in service.requests("course_outline")) == sorted(service.ids)
        assert {one["status"] for one in service.requests("course_outline")} == {200}
