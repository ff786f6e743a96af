"""Tracking jobs: videos that are tracked while nobody holds a connection open.

The store is the queue: a job is claimed under a lease, kept by renewing it, and taken over once its lease runs out.
Task queues such as Celery, arq or huey bring their own workers and run a function to its end; here the workers are the
runners that also answer requests, a job must stop within one frame, and its result grows while it is polled.
"""
