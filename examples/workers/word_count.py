#!/usr/bin/env python3
"""Runs jobs of the type `word-count`: { "text", "secondsPerLine"? } becomes a table of words.

    JOB_STATUS_URL=http://127.0.0.1:3000 JOB_STATUS_TOKEN=... python3 word_count.py
"""
import time
from collections import Counter

from job_worker import JobError, Result, Worker


def count_words(job):
    text = job.input.get("text") if isinstance(job.input, dict) else None
    if not isinstance(text, str):
        raise JobError("INVALID_INPUT", "text: must be a string", retryable=False)
    lines, counts = text.splitlines(), Counter()
    for number, line in enumerate(lines, start=1):
        time.sleep(job.input.get("secondsPerLine", 0))
        counts.update(line.split())
        job.progress(done=number, total=len(lines), stage="counting")
    table = "".join(f"{word},{count}\n" for word, count in counts.most_common())
    return Result(table.encode(), "text/csv", "words.csv")


if __name__ == "__main__":
    Worker({"word-count": count_words}).run()
