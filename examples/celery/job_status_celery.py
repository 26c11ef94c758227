"""Shows the tasks of a Celery application in the job status service.

    import sqlite3
    from job_status_celery import JobStatus

    JobStatus(lambda: sqlite3.connect("/srv/job-status/data/jobs.db", timeout=10)).install()

Put this where the producers and the workers import it, for instance beside `app = Celery(...)`. Each task becomes a
row of the table JobExecutionLog, under its task id; clients then ask for /api/v1/jobs/{task id}. For Postgres:

    JobStatus(lambda: psycopg2.connect(dsn), placeholder="%s").install()

A task never fails because it cannot be shown: a write is tried three times and then logged. What was missed by that,
or because a worker was killed, `repair(app)` finds out from the result backend.
"""
import json
import logging
import os
import threading
import time
from datetime import datetime, timezone

log = logging.getLogger(__name__)

TRIES, PAUSE_SECONDS = 3, 0.2
MESSAGE_CHARACTERS_MAX = 2000

# Statements that change nothing where the row is there, or has ended: signals of one task may come in any order.
QUEUED = """INSERT INTO JobExecutionLog (jobId, type, status, tenant, createdAt) SELECT ?, ?, 'Queued', ?, ?
  WHERE NOT EXISTS (SELECT 1 FROM JobExecutionLog WHERE jobId = ?)"""
RUNNING = """UPDATE JobExecutionLog SET status = 'Running', startTime = ?
  WHERE jobId = ? AND status IN ('Queued', 'Running')"""
WAITING = "UPDATE JobExecutionLog SET status = 'Queued' WHERE jobId = ? AND status = 'Running'"
ENDED = """UPDATE JobExecutionLog SET status = ?, endTime = ?, resultUrl = ?, errorDetails = ?, cancelledAt = ?
  WHERE jobId = ? AND status IN ('Queued', 'Running')"""
PROGRESS = "UPDATE JobExecutionLog SET progressPercent = ? WHERE jobId = ? AND status = 'Running'"
CANCELLED = {"code": "JOB_CANCELLED", "message": "The task was revoked."}
UNFINISHED = "SELECT jobId, type FROM JobExecutionLog WHERE status IN ('Queued', 'Running')"


def now():
    return datetime.now(timezone.utc).isoformat()


class JobStatus:
    """Writes the rows. `connect` opens a connection of a DB-API driver, whose parameters look like `placeholder`.

    `tenant` owns the rows; without one, every token with the scope jobs:read may read them. `result_url` gets the task
    id and the result of a task, and returns the URL of the result, or None.
    """

    def __init__(self, connect, placeholder="?", tenant=None, result_url=lambda task_id, result: None):
        self.connect, self.placeholder, self.tenant, self.result_url = connect, placeholder, tenant, result_url
        self._own = threading.local()
        self._inherited = []

    def install(self):
        """Connects the handlers to Celery's signals, in producers and workers alike."""
        from celery import signals
        for signal, handler in (
            (signals.after_task_publish, self.on_published), (signals.task_prerun, self.on_started),
            (signals.task_success, self.on_succeeded), (signals.task_failure, self.on_failed),
            (signals.task_retry, self.on_retried), (signals.task_revoked, self.on_revoked),
        ):
            signal.connect(handler, weak=False)
        return self

    def on_published(self, headers=None, **_):
        # A worker may have begun the task already, and a retry is published again.
        if headers and "id" in headers:
            self._write(self._queued(headers["id"], headers.get("task")))

    def on_started(self, task_id, task=None, **_):
        self._write(self._queued(task_id, name_of(task)), (RUNNING, [now(), task_id]))

    def on_succeeded(self, sender=None, result=None, **_):
        task_id = sender.request.id
        self._end(task_id, name_of(sender), "Succeeded", url=self.result_url(task_id, result))

    def on_failed(self, task_id, exception=None, sender=None, **_):
        failure = {"code": type(exception).__name__, "message": str(exception)[:MESSAGE_CHARACTERS_MAX]}
        self._end(task_id, name_of(sender), "Failed", failure)

    def on_retried(self, request, **_):
        self._write((WAITING, [request.id]))

    def on_revoked(self, request, expired=False, **_):
        task_id, name = request.id, getattr(request, "task", None) or getattr(request, "name", None)
        if expired:
            self._end(task_id, name, "Failed", {"code": "EXPIRED", "message": "The task was not begun in time."})
        else:
            self._end(task_id, name, "Failed", CANCELLED)

    def progress(self, task_id, percent):
        """Shows how far a task is; call it in the task, with self.request.id."""
        self._write((PROGRESS, [percent, task_id]))

    def repair(self, app):
        """Ends the rows whose end was missed, as the result backend knows it. Run it at the start, and now and then."""
        for task_id, name in self._read(UNFINISHED):
            if name not in app.tasks:
                continue
            result = app.AsyncResult(task_id)
            state = result.state
            if state == "SUCCESS":
                self._end(task_id, name, "Succeeded", url=self.result_url(task_id, result.result))
            elif state == "FAILURE":
                self.on_failed(task_id, result.result, sender=app.tasks[name])
            elif state == "REVOKED":
                self._end(task_id, name, "Failed", CANCELLED)

    def _queued(self, task_id, name):
        return QUEUED, [task_id, name, self.tenant, now(), task_id]

    def _end(self, task_id, name, status, failure=None, url=None):
        details, at = None if failure is None else json.dumps(failure), now()
        cancelled_at = at if failure is CANCELLED else None
        self._write(self._queued(task_id, name), (ENDED, [status, at, url, details, cancelled_at, task_id]))

    def _connection(self):
        # A connection belongs to one thread of one process. Celery's workers fork: what they inherit is not even closed,
        # since that would end the connection of their parent.
        if getattr(self._own, "pid", None) != os.getpid():
            self._inherited.append(getattr(self._own, "connection", None))
            self._own.connection, self._own.pid = self.connect(), os.getpid()
        return self._own.connection

    def _read(self, text):
        connection = self._connection()
        cursor = connection.cursor()
        cursor.execute(text)
        rows = cursor.fetchall()
        connection.rollback()
        return rows

    def _write(self, *statements):
        """Executes the statements in one transaction."""
        for number in range(1, TRIES + 1):
            try:
                connection = self._connection()
                cursor = connection.cursor()
                for text, values in statements:
                    cursor.execute(text.replace("?", self.placeholder), values)
                connection.commit()
                return
            except Exception as error:
                self._disconnect()
                if number == TRIES:
                    log.error("the job status of a task could not be written: %s", error)
                    return
                time.sleep(PAUSE_SECONDS * number)

    def _disconnect(self):
        connection, self._own.connection = getattr(self._own, "connection", None), None
        is_own, self._own.pid = getattr(self._own, "pid", None) == os.getpid(), None
        try:
            if is_own and connection is not None:
                connection.close()
        except Exception:
            pass


def name_of(task):
    return getattr(task, "name", None)
