"""A worker of the job status service, with Python's standard library alone (3.8 or newer; not on Windows).

    from job_worker import JobError, Result, Worker
    Worker({"thumbnail": make_thumbnail}).run()

word_count.py beside this file is a whole program. A handler gets a Job and returns the result: a value that JSON can
express, a Result with bytes, or None. It is ended from outside when the job is cancelled or the program gets SIGTERM.
"""
import base64
import hashlib
import http.client
import io
import json
import os
import random
import signal
import sys
import threading
import time
import urllib.error
import urllib.request
from urllib.parse import quote

PART_BYTES = 1024 * 1024
INLINE_BYTES_MAX = 256 * 1024
WAIT_SECONDS_MAX, WAIT_SECONDS_MIN = 55, 5
RETRIABLE = {408, 429, 502, 503, 504}
LOST = {"LEASE_LOST", "JOB_EXPIRED", "JOB_NOT_FOUND"}
JSON = {"Content-Type": "application/json"}


class JobError(Exception):
    """What a handler raises to say how the job failed, and whether another attempt may succeed."""

    def __init__(self, code, message, details=None, retryable=True):
        super().__init__(message)
        self.code, self.details, self.retryable = code, details, retryable


class Rejected(Exception):
    """A response of the service that a repetition does not change."""

    def __init__(self, error):
        try:
            self.body = json.loads(error.read())
        except ValueError:
            self.body = {}
        self.code = self.body.get("code", "")
        super().__init__(f"HTTP {error.code} {self.code}")


class Interrupted(BaseException):
    """Ends a handler from outside. It is no Exception, so that a handler does not catch it by accident."""


class Result:
    """The result of a job as bytes, or as a file that was opened for reading bytes."""

    def __init__(self, content, content_type="application/octet-stream", file_name=None):
        self.stream = io.BytesIO(content) if isinstance(content, bytes) else content
        self.headers = {"Content-Type": content_type}
        if file_name is not None:
            self.headers["Content-Disposition"] = "attachment; filename*=UTF-8''" + quote(file_name)


def hint_of(error):
    seconds = error.headers.get("Retry-After", "")
    return int(seconds) if seconds.isdigit() else 0


class Service:
    """The requests. `read_token` is called for each, so that the token can be renewed meanwhile."""

    def __init__(self, url, read_token, patience_seconds=300):
        self.url, self.read_token, self.patience_seconds = url.rstrip("/"), read_token, patience_seconds

    def send(self, method, path, body=None, headers=None, timeout=30):
        """Sends a request once, and returns the open response."""
        return urllib.request.urlopen(urllib.request.Request(self.url + path, data=body, method=method, headers={
            "Accept": "application/json", "Authorization": "Bearer " + self.read_token(), **(headers or {})
        }), timeout=timeout)

    def ask(self, method, path, body=None, headers=None):
        """Sends a request until it is answered, also while the service restarts or is overloaded. Raises Rejected."""
        since, pause = time.monotonic(), 0.25
        while True:
            hint = 0
            try:
                with self.send(method, path, body, headers) as answer:
                    return json.loads(answer.read() or b"null")
            except urllib.error.HTTPError as error:
                if error.code not in RETRIABLE:
                    raise Rejected(error) from None
                failure, hint = error, hint_of(error)
            except (OSError, http.client.HTTPException) as error:
                failure = error
            if time.monotonic() - since > self.patience_seconds:
                raise failure
            time.sleep(hint + pause * random.uniform(0.5, 1))
            pause = min(10, pause * 2)


class Job:
    """What a handler gets: id, type, input, attempt, max_attempts, tenant."""

    def __init__(self, service, claim, on_cancel):
        self._service, self._claim, self._on_cancel = service, claim, on_cancel
        self.id, self.type, self.attempt = claim["jobId"], claim["type"], claim["attempt"]
        self.max_attempts, self.tenant, self.input = claim["maxAttempts"], claim["tenant"], claim.get("input")
        self._path = f"/api/v1/worker/jobs/{self.id}/"
        self._lease = {"Lease-Token": claim["leaseToken"]}

    def load_input(self):
        """A large input is not part of the claim."""
        if self._claim.get("inputContentType", "").startswith("application/json"):
            with self.open_input() as stream:
                self.input = json.load(stream)

    def open_input(self):
        """The input as it was submitted, as a file of bytes: for inputs that are not JSON."""
        return self._service.send("GET", self._path + "input", headers={**self._lease, "Accept": "*/*"})

    def progress(self, **report):
        """Reports percent=, or done= and total=, stage=, message=."""
        self._see(self.report("progress", report))

    def heartbeat(self):
        """Keeps the lease. It is sent once: the next one repeats it."""
        with self._service.send("POST", self._path + "progress", b"{}", {**JSON, **self._lease}) as answer:
            self._see(json.load(answer))

    def _see(self, answer):
        if answer["cancelRequested"]:
            self._on_cancel()

    def report(self, command, body, headers=None):
        headers = {**JSON, **self._lease, **(headers or {})}
        return self._service.ask("POST", self._path + command, json.dumps(body).encode(), headers)

    def complete(self, value):
        if value is None:
            return self.report("complete", {})
        if not isinstance(value, Result):
            text = json.dumps(value).encode()
            if len(text) <= INLINE_BYTES_MAX:
                return self.report("complete", {"result": value})
            value = Result(text, "application/json")
        size, digest = self._upload(value)
        return self.report("complete", {"sizeBytes": size}, {"Repr-Digest": f"sha-256=:{digest}:"})

    def _upload(self, result):
        offset, digest = 0, hashlib.sha256()
        part = result.stream.read(PART_BYTES)
        while True:
            self._put(offset, part, {**result.headers, **self._lease})
            offset += len(part)
            digest.update(part)
            part = result.stream.read(PART_BYTES)
            if not part:
                return offset, base64.b64encode(digest.digest()).decode()

    def _put(self, offset, part, headers):
        end = offset + len(part)
        while True:
            try:
                return self._service.ask("PUT", f"{self._path}result?offset={offset}", part, headers)
            except Rejected as rejected:
                # A response was lost: the service says up to where it has the bytes.
                stored = rejected.body.get("offset", -1) if rejected.code == "OFFSET_MISMATCH" else -1
                if not offset < stored <= end:
                    raise
                if stored == end:
                    return None
                part, offset = part[stored - offset:], stored


class Worker:
    """Claims jobs and runs each by the handler of its type, until SIGTERM or SIGINT. Belongs in the main thread."""

    def __init__(self, handlers, url=None, lease_seconds=30):
        self.handlers, self.lease_seconds, self.wait_seconds = handlers, lease_seconds, WAIT_SECONDS_MAX
        self.service = Service(url or os.environ.get("JOB_STATUS_URL", "http://127.0.0.1:3000"), read_token)
        self.claimed = None
        self.stopping = False
        # Why a run ends early: "stop", "cancel" or "lost".
        self.reason = None
        # A signal raises only where nothing is half done: in a handler, and while no job is there.
        self.interruptible = False

    def run(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._stop())
        signal.signal(signal.SIGUSR1, lambda *_: self._interrupt())
        while not self.stopping:
            self.claimed = None
            self._interruptibly(self._claim)
            if self.claimed is not None:
                self._run_job(self.claimed)

    def _stop(self):
        self.stopping, self.reason = True, self.reason or "stop"
        self._interrupt()

    def _end(self, reason):
        """Ends the handler, from any thread."""
        self.reason = self.reason or reason
        signal.pthread_kill(threading.main_thread().ident, signal.SIGUSR1)

    def _interrupt(self):
        if self.interruptible and self.reason is not None:
            self.interruptible = False
            raise Interrupted

    def _interruptibly(self, act, *arguments):
        """Returns None where it was interrupted."""
        try:
            try:
                self.interruptible = True
                return act(*arguments) if self.reason is None else None
            finally:
                self.interruptible = False
        except Interrupted:
            return None

    def _claim(self):
        began, hint = time.monotonic(), 1
        body = {"types": list(self.handlers), "leaseSeconds": self.lease_seconds, "wait": self.wait_seconds}
        try:
            with self.service.send("POST", "/api/v1/worker/claim", json.dumps(body).encode(), JSON,
                                   timeout=self.wait_seconds + 15) as answer:
                if answer.status == 200:
                    self.claimed = json.load(answer)
                    return
        except urllib.error.HTTPError as error:
            if error.code not in RETRIABLE:
                raise Rejected(error) from None
            hint = hint_of(error) or 1
        except (OSError, http.client.HTTPException):
            # A proxy on the way may cut connections that are idle for that long.
            if time.monotonic() - began >= 1:
                self.wait_seconds = max(WAIT_SECONDS_MIN, self.wait_seconds // 2)
        # A service that drains does not hold a claim, and one that restarts answers none.
        if time.monotonic() - began < 1:
            time.sleep(hint * random.uniform(1, 2))

    def _run_job(self, claim):
        ended = threading.Event()
        job = Job(self.service, claim, lambda: self._end("cancel"))
        heartbeat = threading.Thread(target=self._keep_lease, args=(job, ended), daemon=True)
        heartbeat.start()
        try:
            self._report_end(job, self._interruptibly(self._handle, job))
        except (Rejected, OSError, http.client.HTTPException) as error:
            if getattr(error, "code", None) not in LOST:
                print(f"{job.id}: {error}", file=sys.stderr)
        finally:
            ended.set()
            heartbeat.join()
            self.reason = "stop" if self.stopping else None

    def _keep_lease(self, job, ended):
        while not ended.wait(self.lease_seconds / 3):
            try:
                job.heartbeat()
            except urllib.error.HTTPError as error:
                if Rejected(error).code in LOST and not ended.is_set():
                    return self._end("lost")
            except (OSError, http.client.HTTPException):
                pass

    def _handle(self, job):
        """Returns the result and the error, one of which is None."""
        try:
            job.load_input()
            return self.handlers[job.type](job), None
        except Exception as error:
            if isinstance(error, Rejected) and error.code in LOST:
                self.reason = "lost"
            return None, error

    def _report_end(self, job, outcome):
        if self.reason == "lost":
            return
        if outcome is None and self.reason == "stop":
            job.report("release", {})
        elif outcome is None:
            job.report("fail", {"error": {"code": "STOPPED", "message": "The job was cancelled."}})
        elif outcome[1] is None:
            job.complete(outcome[0])
        else:
            error = outcome[1]
            code = str(getattr(error, "code", None) or type(error).__name__)
            failure = {"code": code, "message": str(error), "details": getattr(error, "details", None)}
            job.report("fail", {"error": failure, "retryable": getattr(error, "retryable", True)})


def read_token():
    path = os.environ.get("JOB_STATUS_TOKEN_FILE")
    if not path:
        return os.environ["JOB_STATUS_TOKEN"]
    with open(path, encoding="ascii") as file:
        return file.read().strip()
