"""The least that Python can do: a line in, ``json`` both ways, a line out."""

import json
import sys

for line in sys.stdin.buffer:
    request = json.loads(line)
    if "id" in request:
        answer = {"jsonrpc": "2.0", "id": request["id"], "result": request.get("params")}
        sys.stdout.buffer.write(json.dumps(answer, separators=(",", ":")).encode() + b"\n")
        sys.stdout.buffer.flush()
