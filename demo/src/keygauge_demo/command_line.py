"""The command lines of the demo: `--help`, and no other arguments, as the settings come from the environment."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence

DEMO = {
    "DEMO_PORT_PORTAL": "the portal's port (8080)",
    "DEMO_PORT_API": "the API's port (8000)",
    "DEMO_SECONDS": "how long to send traffic (until Ctrl-C)",
    "DEMO_STATE": "the folder of the database and the logs (.demo)",
}
TRAFFIC = {
    "KEYGAUGE_SERVICE_URL": "the key service's address (required)",
    "KEYGAUGE_ADMIN_TOKEN": "the key service's admin token (required)",
    "DEMO_API_URL": "the address of the API to call (required)",
    "KEYGAUGE_DATABASE_URL": "the key service's database, to write a history (none)",
    "DEMO_SECONDS": "how long to send traffic (until Ctrl-C)",
    "DEMO_STATE": "the folder of the keys (.demo/traffic)",
}


def read(program: str, description: str, variables: Mapping[str, str], arguments: Sequence[str] | None = None) -> None:
    """Print the help if it is asked for, and exit; any other argument is an error with exit status 2."""
    width = max(map(len, variables)) + 2
    parser = argparse.ArgumentParser(
        prog=program,
        description=description,
        epilog="environment:\n" + "\n".join(f"  {name:{width}}{meaning}" for name, meaning in variables.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.parse_args(arguments)
