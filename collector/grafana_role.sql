-- Let the role of the migrations sign in, with the password that Grafana is given; psql reads it from its environment.
-- Run it as a superuser: whoever may look at a dashboard may send any statement, and can lift the role's time limit with one.
\getenv password KEYGAUGE_GRAFANA_DATABASE_PASSWORD
ALTER ROLE keygauge_grafana LOGIN PASSWORD :'password' CONNECTION LIMIT 20;

-- What PostgreSQL allows everybody, and Grafana's role must not: to take the locks under which keys are changed, to leave data
-- behind, to fill the disk. All other roles keep it; for one that is made later, run this again.
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
