"""All of it, or a part: see ./run --help."""

import argparse
import sys
import time

import streams
import websocket
from driver import HERE, Report


def main():
    parser = argparse.ArgumentParser(prog="tests/interop/run", description="tautline against other implementations, both ways")
    parser.add_argument("--only", action="append", choices=[*websocket.PEERS, "echo", "sse"], help="this peer, or these")
    parser.add_argument("--quick", action="store_true", help="compression as the defaults have it and with 10 bits, no more")
    arguments = parser.parse_args()
    wanted = arguments.only or [*websocket.PEERS, "echo", "sse"]
    report = Report(HERE / "expectations.txt")
    began = time.monotonic()
    websocket.run(report, [peer for peer in websocket.PEERS if peer in wanted], arguments.quick)
    if "echo" in wanted:
        websocket.run_echo(report, websocket.PEERS)
    if "sse" in wanted:
        streams.run(report)
    fine = report.finish(whole=not (arguments.only or arguments.quick))
    print(f"{time.monotonic() - began:.0f} s")
    return 0 if fine else 1


sys.exit(main())
