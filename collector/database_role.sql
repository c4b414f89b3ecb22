-- Create the key service's role, which owns its database and has no other privileges. PostgreSQL's container runs this once, as a
-- superuser, when its data directory is new. Grafana's role is created here too, since the key service's role cannot create roles.
\getenv password KEYGAUGE_DATABASE_PASSWORD
CREATE ROLE keygauge LOGIN PASSWORD :'password' NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS;
SELECT current_database() AS database \gset
ALTER DATABASE :"database" OWNER TO keygauge;

SELECT NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'keygauge_grafana') AS is_missing \gset
\if :is_missing
CREATE ROLE keygauge_grafana NOLOGIN;
\endif
ALTER ROLE keygauge_grafana SET statement_timeout = '15s';
ALTER ROLE keygauge_grafana SET default_transaction_read_only = on;
ALTER ROLE keygauge_grafana SET search_path = grafana;
ALTER ROLE keygauge_grafana SET timezone = 'UTC';
