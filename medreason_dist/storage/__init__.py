"""Folders on a disk or under ``s3://``, behind one class. The only room that imports boto3.

    folder.py     Folder: names, bytes, tables, JSON
    disk.py       its files on a disk
    s3.py         its objects in a bucket, and which of S3's errors may pass
    requests.py   how many requests S3 got
    lease.py      one holder at a time

Writes are atomic: a reader sees the whole file or none. ``create`` has exactly one winner. A folder is finished once
its ``_manifest.json`` is there, which is why that is written last.
"""

from __future__ import annotations

from medreason_dist.storage.folder import MANIFEST, Folder
from medreason_dist.storage.lease import BEAT_S, hold_lease
from medreason_dist.storage.requests import count_requests

__all__ = ["BEAT_S", "MANIFEST", "Folder", "count_requests", "hold_lease"]
