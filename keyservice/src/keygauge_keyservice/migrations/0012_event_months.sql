-- The months of the ledger, made and dropped with the rights of the tables' owner, so that the service needs none of its own.
-- Who may call these is said by grants alone: see roles.sql.

CREATE FUNCTION make_event_month(month date) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    first date := date_trunc('month', month)::date;
    name text := 'event_' || to_char(first, 'YYYY_MM');
BEGIN
    -- Made first and attached after: that waits for no reader and no writer of the other months.
    EXECUTE format('CREATE TABLE %I (LIKE event INCLUDING ALL)', name);
    EXECUTE format(
        'ALTER TABLE event ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
        name, first || ' 00:00+00', (first + interval '1 month')::date || ' 00:00+00'
    );
END
$$;

CREATE FUNCTION drop_event_month(month date) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    EXECUTE format('DROP TABLE IF EXISTS %I', 'event_' || to_char(month, 'YYYY_MM'));
END
$$;

REVOKE EXECUTE ON FUNCTION make_event_month, drop_event_month FROM PUBLIC;
