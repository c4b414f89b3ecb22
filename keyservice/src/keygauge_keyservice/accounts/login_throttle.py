"""Slow the guessing of passwords: failed sign-ins are counted per address, per IP and for both together.

A browser in which the member signed in before is counted by itself, so that nobody can lock a member out of it.
"""

from __future__ import annotations

from keygauge import networks
from keygauge_keyservice.database import Connection

WINDOW_S = 15 * 60
PER_EMAIL_AND_IP = 5
PER_EMAIL = 100  # from all IPs: many more, so that it takes twenty IPs to lock a member's new browser out
PER_DEVICE = 10
PER_IP = 50  # of any address: offices share one


def admit(connection: Connection, *, email: str, ip: str, device: str | None = None) -> bool:
    """Count an attempt as failed before the password is checked; False, without counting, if there were too many.

    `device` is a browser's own name, where the member of this address signed in with it before. Commit before the
    password is verified: then no number of tries at once gets past the bound.
    """
    email, ip = _names(email, ip, device)
    connection.execute("/* guesses.lock */ SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (email,))
    # After the address: every try takes the two in this order, so none waits for one that waits for it.
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
    """Forget the failed attempts of a member who has signed in."""
    email, ip = _names(email, ip, device)
    connection.execute("/* guesses.forgive */ DELETE FROM sign_in_failure WHERE email = %s AND ip = %s", (email, ip))


def _names(email: str, ip: str, device: str | None) -> tuple[str, str]:
    """Return what a try is counted under: of an IPv6 network of 64 bits, anyone has all addresses."""
    if device is not None:
        return f"device {device}", f"device {device}"
    return email, networks.holder(ip)
