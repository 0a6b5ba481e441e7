"""The program `nova-ext`."""

from __future__ import annotations

import argparse
import pathlib
import sys
from typing import Optional

from nova_ext import doctor


def main(arguments: Optional[list[str]] = None) -> int:
    """Command line to exit code: 0 well, 1 something has to be mended, 64 the command line makes no sense."""
    parser = argparse.ArgumentParser(prog="nova-ext", description="The parts of nova_ext inside Nova.")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    checks = commands.add_parser("doctor", help="say whether Nova has enabled what it should, and whether it works")
    checks.add_argument(
        "--nova-conf",
        action="append",
        type=pathlib.Path,
        metavar="FILE",
        help="default: /etc/nova/nova.conf; may be repeated",
    )
    checks.add_argument("--paste", type=pathlib.Path, metavar="FILE", help="default: what nova.conf says")
    checks.add_argument("-c", "--config", metavar="FILE", help="default: /etc/pcmk-remote/nova-ha.toml")
    checks.add_argument("--json", action="store_true", help="print JSON")
    try:
        options = parser.parse_args(arguments)
    except SystemExit as end:
        return 64 if end.code else 0
    if options.command is None:
        parser.print_usage(sys.stderr)
        return 64
    conf = options.nova_conf or [pathlib.Path("/etc/nova/nova.conf")]
    return doctor.show(doctor.examine(conf, options.paste, options.config), options.json)


if __name__ == "__main__":
    sys.exit(main())
