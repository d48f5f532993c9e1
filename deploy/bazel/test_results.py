"""Prints "PASSED //target" or "<verdict> //target" for each test in a Bazel build event file (JSON lines)."""

import json
import sys


def main() -> None:
    with open(sys.argv[1], encoding="utf-8") as events:
        for line in events:
            event = json.loads(line)
            if "testSummary" in event.get("id", {}):
                target = event["id"]["testSummary"]["label"]
                print(event["testSummary"].get("overallStatus", "NO_STATUS"), target)


if __name__ == "__main__":
    main()
