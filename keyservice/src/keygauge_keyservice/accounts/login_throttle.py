"""Throttling of password guessing: failed sign-ins are counted per e-mail address, per IP, and per pair of both.

A browser in which the member has signed in before has its own count, so that others cannot lock the member out of it.
That count is for the member's own password only: anybody can be a member under another person's address, with a
password of their own, and must not get more guesses at that person's other passwords.
"""

from __future__ import annotations

from keygauge import networks
from keygauge_keyservice.database import Connection

WINDOW_S = 15 * 60
PER_EMAIL_AND_IP = 5
PER_EMAIL = 100  # from all IPs; high enough that locking a member's new browser out takes twenty IPs
PER_DEVICE = 10
PER_IP = 50  # for all e-mail addresses; people in one office may share an IP


def admit(connection: Connection, *, email: str, ip: str, device: str | None = None) -> bool:
    """Record a sign-in attempt as failed before the password is checked; return False if there were too many already.

    An attempt that is not admitted is not recorded. `device` identifies a browser in which this member has signed in
    before. Commit before verifying the password, so that concurrent attempts cannot exceed the limit.
    """
    email, ip = _names(email, ip, device)
    connection.execute("/* guesses.lock */ SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (email,))
    # Always lock the e-mail address first and then the IP, to avoid deadlocks.
    connection.execute("/* guesses.lock_ip */ SELECT pg_advisory_xact_lock(hashtextextended(%s, 1))", (ip,))
    connection.execute(
        "/* guesses.prune */ DELETE FROM sign_in_failure WHERE at < statement_timestamp() - make_interval(secs => %s)",
        (WINDOW_S,),
    )
    bounds = {"per_both": PER_EMAIL_AND_IP, "per_email": PER_EMAIL, "per_ip": PER_IP}
    if device is not None:
        bounds = dict.fromkeys(bounds, PER_DEVICE)
    row = connection.execute(
        "/* guesses.count */ SELECT count(*) FILTER (WHERE email = %(email)s AND ip = %(ip)s) < %(per_both)s "
        "AND count(*) FILTER (WHERE email = %(email)s) < %(per_email)s "
        "AND count(*) FILTER (WHERE ip = %(ip)s) < %(per_ip)s AS is_admitted "
        "FROM sign_in_failure WHERE email = %(email)s OR ip = %(ip)s",
        {"email": email, "ip": ip, **bounds},
    ).fetchone()
    if not (row and row["is_admitted"]):
        return False
    connection.execute("/* guesses.record */ INSERT INTO sign_in_failure (email, ip) VALUES (%s, %s)", (email, ip))
    return True


def forgive(connection: Connection, *, email: str, ip: str, device: str | None = None) -> None:
    """Delete the attempt of a member who has signed in; earlier ones remain, as the address may have other members."""
    email, ip = _names(email, ip, device)
    connection.execute(
        "/* guesses.forgive */ DELETE FROM sign_in_failure WHERE ctid = ("
        "SELECT ctid FROM sign_in_failure WHERE email = %s AND ip = %s ORDER BY at DESC LIMIT 1)",
        (email, ip),
    )


def _names(email: str, ip: str, device: str | None) -> tuple[str, str]:
    """Return the e-mail and IP to count under; IPv6 addresses count by /64, since one client usually has all of it."""
    if device is not None:
        return f"device {device}", f"device {device}"
    return email, networks.holder(ip)
