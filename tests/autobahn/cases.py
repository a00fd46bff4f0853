"""Which cases to run, and whether they ended as expected.txt says. `run` calls it.

    cases.py spec ROLE URL OUTDIR                       the specification that the testsuite wants, as JSON
    cases.py compare server=INDEX client=INDEX          what differs from the expectations; 1 if anything does

Both take `--ci` (without the cases of a release) or `--cases GLOB`, and `compare` takes `--summary FILE`. ROLE is ours: the testsuite's
client drives the server. Written for Python 2.7 and 3 alike: the Python of the testsuite is the one that is surely there.
"""

from __future__ import print_function

import argparse
import fnmatch
import itertools
import json
import os
import sys
from collections import OrderedDict

HERE = os.path.dirname(os.path.abspath(__file__))
AGENT = "tautline"
OK = ("OK", "OK")
GROUPS = {
    "1": "Framing",
    "2": "Pings and pongs",
    "3": "Reserved bits",
    "4": "Opcodes",
    "5": "Fragmentation",
    "6": "UTF-8",
    "7": "Closing",
    "9": "Limits",
    "10": "Fragmented by the testsuite",
    "12": "Compression, different payloads",
    "13": "Compression, different parameters",
}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--ci", action="store_true")
    parser.add_argument("--cases", default="*")
    commands = parser.add_subparsers(dest="command")
    spec_arguments = commands.add_parser("spec")
    for name in ("role", "url", "outdir"):
        spec_arguments.add_argument(name)
    compare_arguments = commands.add_parser("compare")
    compare_arguments.add_argument("reports", nargs="+")
    compare_arguments.add_argument("--summary")
    compare_arguments.add_argument("--made-by", action="append", default=[])
    arguments = parser.parse_args()
    expected = selected(arguments.ci, arguments.cases)
    if not expected:
        sys.exit("no such case: " + arguments.cases)
    if arguments.command == "spec":
        print(json.dumps(spec(arguments.role, arguments.url, arguments.outdir, list(expected)), indent=1))
        return
    reports = [report.split("=", 1) for report in arguments.reports]
    results = [(role, outcomes(path)) for role, path in reports]
    differs = False
    for role, ended in results:
        print("as {}: {}".format(role, counts(expected, ended)))
        for difference, cases in differences(expected, ended).items():
            print("  {}: {}".format(difference, " ".join(cases)))
            differs = True
    if differs:
        sys.exit(1)
    if arguments.summary:
        with open(arguments.summary, "w") as summary:
            summary.write(summarize(arguments.made_by, expected, results))


def numbers(text):
    """`1-3,7` is 1, 2, 3, 7."""
    for part in text.split(","):
        first, _, last = part.partition("-")
        for number in range(int(first), int(last or first) + 1):
            yield str(number)


def selected(ci, glob):
    """Case to (behavior, close), in the testsuite's order."""
    cases = {}
    with open(os.path.join(HERE, "expected.txt")) as lines:
        for line in lines:
            words = line.partition("#")[0].split()
            release = words[-1:] == ["release"]
            if not words or (ci and release):
                continue
            ending = [word for word in words[1:] if word != "release"] or OK
            # `WRONG CODE` would be two words; no such ending is ever expected.
            behavior, close = ending
            for case in itertools.product(*map(numbers, words[0].split("."))):
                case = ".".join(case)
                if case in cases:
                    sys.exit("expected.txt has case {} twice".format(case))
                if fnmatch.fnmatchcase(case, glob):
                    cases[case] = (behavior, close)
    return OrderedDict(sorted(cases.items(), key=lambda item: key(item[0])))


def key(case):
    return [int(part) for part in case.split(".")]


def spec(role, url, outdir, cases):
    common = {"outdir": outdir, "cases": cases, "exclude-cases": [], "exclude-agent-cases": {}}
    if role == "server":
        return dict(common, servers=[{"agent": AGENT, "url": url}])
    return dict(common, url=url)


def outcomes(path):
    """Case to (behavior, close, close code), of one report; nothing where there is none."""
    try:
        with open(path) as report:
            report = json.load(report)
    except (IOError, ValueError):
        return {}
    cases = report.get(AGENT, {})
    return {case: (end["behavior"], end["behaviorClose"], end["remoteCloseCode"]) for case, end in cases.items()}


def counts(expected, ended):
    run = [ended[case][:2] for case in expected if case in ended]
    return "{} of {} cases run, {} OK, {} informational".format(
        len(run), len(expected), run.count(OK), sum("INFORMATIONAL" in end for end in run))


def differences(expected, ended):
    """What is otherwise than expected, and of which cases."""
    found = OrderedDict()
    for case in sorted(set(expected) | set(ended), key=key):
        if case not in ended:
            difference = "did not run"
        elif case not in expected:
            difference = "ran, and is not expected"
        elif ended[case][:2] != expected[case]:
            difference = "{} / {} (close code {}), expected {} / {}".format(*(ended[case] + expected[case]))
        else:
            continue
        found.setdefault(difference, []).append(case)
    return found


def summarize(made_by, expected, results):
    """What is kept in the repository, of a run without a difference."""
    lines = ["# The Autobahn testsuite", ""]
    lines += made_by + [""]
    lines += ["| cases | what | number |" + "".join(" as {} |".format(role) for role, _ in results)]
    lines += ["|---|---|---:|" + "---:|" * len(results)]
    groups = sorted({case.split(".")[0] for case in expected}, key=int)
    for group in groups + ["all"]:
        cases = [case for case in expected if group in ("all", case.split(".")[0])]
        name = ("**all**", "") if group == "all" else (group, GROUPS[group])
        columns = [" {} |".format(count(ended, cases)) for _, ended in results]
        lines += ["| {} | {} | {} |".format(name[0], name[1], len(cases)) + "".join(columns)]
    lines += ["", "Behaviour and close of each case are compared with `expected.txt`. Other than OK are:", ""]
    for case in expected:
        for role, ended in results:
            if ended[case][:2] != OK:
                lines += ["- {} as {}: {}, close {}, close code {}".format(case, role, *ended[case])]
    return "\n".join(lines) + "\n"


def count(ended, cases):
    fine = sum(ended[case][:2] == OK for case in cases)
    informational = sum("INFORMATIONAL" in ended[case][:2] for case in cases)
    return "{} OK".format(fine) + (", {} informational".format(informational) if informational else "")


if __name__ == "__main__":
    main()
