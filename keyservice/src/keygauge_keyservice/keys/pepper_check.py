"""A check that the peppers are the ones with which the database's keys were hashed; with others, no key would match."""

from __future__ import annotations

from keygauge_keyservice.database import Connection
from keygauge_keyservice.secret import PepperError, Peppers

_WAY_OUT = "Give the one kept with the database's backups in KEYGAUGE_PEPPER, or run in its folder"


def check(connection: Connection, peppers: Peppers) -> None:
    """Compare the peppers with the fingerprints in the database, and with the versions that its keys use.

    Raises:
        PepperError: a pepper has changed, or one that keys still use is missing.
    """
    compare(connection, peppers)
    used = connection.execute(
        "/* pepper.used */ SELECT DISTINCT pepper_version FROM key_secret WHERE pepper_version <> ALL(%s) "
        "AND (expires_at IS NULL OR expires_at > clock_timestamp())",
        (list(peppers.by_version),),
    ).fetchall()
    if used:
        missing = ", ".join(str(row["pepper_version"]) for row in used)
        raise PepperError(f"keys were hashed with pepper {missing}, which is missing. {_WAY_OUT}.")


def compare(connection: Connection, peppers: Peppers) -> None:
    """Compare the peppers with the fingerprints in the database, and store those of new peppers.

    Raises:
        PepperError: a pepper has changed.
    """
    rows = connection.execute("/* pepper.list */ SELECT version, fingerprint FROM pepper")
    known = {row["version"]: row["fingerprint"] for row in rows}
    for version in peppers.by_version:
        fingerprint = peppers.fingerprint(version)
        if version not in known:
            connection.execute(
                "/* pepper.add */ INSERT INTO pepper (version, fingerprint) VALUES (%s, %s) ON CONFLICT DO NOTHING",
                (version, fingerprint),
            )
        elif known[version] != fingerprint:
            raise PepperError(
                f"pepper {version} is not the one that this database's keys were hashed with: {_WAY_OUT}."
            )
