"""Slow the guessing of passwords: failed sign-ins are counted per address, per IP and for both together."""

from __future__ import annotations

from keygauge_keyservice.database import Connection

WINDOW_S = 15 * 60
PER_EMAIL_AND_IP = 5
PER_EMAIL = 20  # from everywhere: more, so that a stranger does not lock a member out with a few tries
PER_IP = 50  # of any address: offices share one


def admit(connection: Connection, *, email: str, ip: str) -> bool:
    """Count a try as failed before the password is looked at; False when there were too many, which adds none.

    Commit before the password is verified: then no number of tries at once gets past the bound.
    """
    connection.execute("/* guesses.lock */ SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (email,))
    # After the address: every try takes the two in this order, so none waits for one that waits for it.
    connection.execute("/* guesses.lock_ip */ SELECT pg_advisory_xact_lock(hashtextextended(%s, 1))", (ip,))
    connection.execute(
        "/* guesses.prune */ DELETE FROM sign_in_failure WHERE at < clock_timestamp() - make_interval(secs => %s)",
        (WINDOW_S,),
    )
    row = connection.execute(
        "/* guesses.count */ SELECT count(*) FILTER (WHERE email = %(email)s AND ip = %(ip)s) < %(per_both)s "
        "AND count(*) FILTER (WHERE email = %(email)s) < %(per_email)s "
        "AND count(*) FILTER (WHERE ip = %(ip)s) < %(per_ip)s AS is_admitted "
        "FROM sign_in_failure WHERE email = %(email)s OR ip = %(ip)s",
        {"email": email, "ip": ip, "per_both": PER_EMAIL_AND_IP, "per_email": PER_EMAIL, "per_ip": PER_IP},
    ).fetchone()
    if not (row and row["is_admitted"]):
        return False
    connection.execute("/* guesses.record */ INSERT INTO sign_in_failure (email, ip) VALUES (%s, %s)", (email, ip))
    return True


def forgive(connection: Connection, *, email: str, ip: str) -> None:
    """Forget the failed tries of a member who has signed in."""
    connection.execute("/* guesses.forgive */ DELETE FROM sign_in_failure WHERE email = %s AND ip = %s", (email, ip))
