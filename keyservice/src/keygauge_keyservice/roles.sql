-- Roles with least privileges. A superuser runs this in KeyGauge's database, before the first migration:
--     keygauge migrate --show-roles | psql -d keygauge
-- It is safe to run again. No role has a password yet: give each one ("\password keygauge_serve" in psql), or a certificate.
--     keygauge_migrate  owns the tables: `keygauge migrate`
--     keygauge_serve    reads and writes rows: `keygauge serve` and all other commands
--     keygauge_grafana  reads the views of the schema grafana: Grafana

DO $$
DECLARE
    role_name text;
BEGIN
    FOREACH role_name IN ARRAY ARRAY['keygauge_migrate', 'keygauge_serve', 'keygauge_grafana'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role_name) THEN
            EXECUTE format('CREATE ROLE %I', role_name);
        END IF;
        EXECUTE format('ALTER ROLE %I LOGIN', role_name);
        EXECUTE format('GRANT CONNECT ON DATABASE %I TO %I', current_database(), role_name);
    END LOOP;
    EXECUTE format('GRANT CREATE ON DATABASE %I TO keygauge_migrate', current_database());
    EXECUTE format('REVOKE CONNECT, TEMPORARY ON DATABASE %I FROM PUBLIC', current_database());
    ALTER ROLE keygauge_grafana SET statement_timeout = '15s';
    ALTER ROLE keygauge_grafana SET default_transaction_read_only = on;
    ALTER ROLE keygauge_grafana SET search_path = grafana;
    ALTER ROLE keygauge_grafana SET timezone = 'UTC';
    ALTER ROLE keygauge_grafana CONNECTION LIMIT 20;

    REVOKE ALL ON SCHEMA public FROM PUBLIC;
    GRANT USAGE, CREATE ON SCHEMA public TO keygauge_migrate;
    GRANT USAGE ON SCHEMA public TO keygauge_serve;

    -- Existing objects, and those that migrations will create.
    GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO keygauge_serve;
    GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA public TO keygauge_serve;
    GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO keygauge_serve;
    GRANT keygauge_migrate TO CURRENT_USER;  -- if a provider's administrator is not a superuser
    ALTER DEFAULT PRIVILEGES FOR ROLE keygauge_migrate IN SCHEMA public
        GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO keygauge_serve;
    ALTER DEFAULT PRIVILEGES FOR ROLE keygauge_migrate IN SCHEMA public GRANT USAGE, SELECT ON SEQUENCES TO keygauge_serve;
    ALTER DEFAULT PRIVILEGES FOR ROLE keygauge_migrate IN SCHEMA public GRANT EXECUTE ON FUNCTIONS TO keygauge_serve;
    REVOKE keygauge_migrate FROM CURRENT_USER;
END
$$;
