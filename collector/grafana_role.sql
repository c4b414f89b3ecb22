-- Let the role created by the migrations log in, with Grafana's password, which psql reads from its environment.
-- Run it as a superuser. Note that dashboard viewers can send any statement, including one that lifts the role's time limit.
\getenv password KEYGAUGE_GRAFANA_DATABASE_PASSWORD
ALTER ROLE keygauge_grafana LOGIN PASSWORD :'password' CONNECTION LIMIT 20;

-- Revoke from Grafana's role what PostgreSQL grants to PUBLIC: taking the advisory locks used for changes of keys, storing data, and
-- filling the disk. All other existing roles keep these privileges; for roles created later, run this again.
DO $$
DECLARE
    call regprocedure;
    other name;
BEGIN
    ALTER ROLE keygauge_grafana SET temp_file_limit = '1GB';
    FOR call IN
        SELECT oid FROM pg_proc
        WHERE pronamespace = 'pg_catalog'::regnamespace AND (proname ~ '^pg_(try_)?advisory_' OR proname IN
            ('lo_creat', 'lo_create', 'lo_from_bytea', 'lo_open', 'lo_put', 'lo_unlink', 'lowrite'))
    LOOP
        FOR other IN SELECT rolname FROM pg_roles WHERE rolname !~ '^pg_' AND rolname <> 'keygauge_grafana' LOOP
            EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO %I', call, other);
        END LOOP;
        EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', call);
    END LOOP;
    FOR other IN SELECT rolname FROM pg_roles WHERE rolname !~ '^pg_' AND rolname <> 'keygauge_grafana' LOOP
        EXECUTE format('GRANT TEMPORARY ON DATABASE %I TO %I', current_database(), other);
    END LOOP;
    EXECUTE format('REVOKE TEMPORARY ON DATABASE %I FROM PUBLIC', current_database());
EXCEPTION
    WHEN insufficient_privilege THEN
        RAISE WARNING '% is no superuser: keygauge_grafana can still take locks and fill the disk', current_user;
END
$$;
