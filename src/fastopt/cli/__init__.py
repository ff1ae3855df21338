"""The command line: ``fastopt train``, ``predict``, ``compare``, ``bench`` and ``info``; one file a command.

`predict_rows` is the door from Python to what ``fastopt train`` has written, preprocessing included.
"""

from fastopt.cli.features import predict_rows

__all__ = ["predict_rows"]
